// Works for some seconds with what a Go program has most trouble with elsewhere: goroutines that never pause, channels, locks, timers
// and garbage. Says only what does not depend on time.
package main

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sort"
	"sync"
	"time"
)

type node struct {
	left, right *node
	payload     [4]uint64
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: tree(depth - 1), right: tree(depth - 1)}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func work(seed int, rounds int) (sum [32]byte, nodes int) {
	for round := 0; round < rounds; round++ {
		sum = sha256.Sum256([]byte(fmt.Sprint(seed, round, sum)))
		nodes += tree(10).count()
	}
	return
}

func main() {
	const workers, jobs = 8, 64
	started := time.Now()
	queue, results := make(chan int), make(chan string, 4)
	var done sync.WaitGroup
	var ticks int
	ticker := time.NewTicker(5 * time.Millisecond)
	for worker := 0; worker < workers; worker++ {
		done.Add(1)
		go func() {
			defer done.Done()
			for job := range queue {
				sum, nodes := work(job, 400)
				results <- fmt.Sprintf("%02d %x %d", job, sum[:8], nodes)
			}
		}()
	}
	go func() {
		for job := 0; job < jobs; job++ {
			queue <- job
		}
		close(queue)
		done.Wait()
		close(results)
	}()
	var lines []string
	for results != nil {
		select {
		case line, more := <-results:
			if !more {
				results = nil
			} else {
				lines = append(lines, line)
			}
		case <-ticker.C:
			ticks++
		}
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	fmt.Println(len(lines), "jobs, ticks:", ticks > 10, "collections:", memory.NumGC > 10, "in time:", time.Since(started) > 0)
}

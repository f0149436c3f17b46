// Goldbach's comet: in how many ways is an even number the sum of two primes? The table of primes is made once; a job counts
// the ways of ten numbers.
package main

import (
	"fmt"
	"log"
	"strconv"

	"goldbach/denali"
)

const (
	limit   = 20000000
	first   = 2000000
	numbers = 10
	blocks  = (limit - first) / (2 * numbers)
)

// Whether the odd number 2i + 1 is no prime.
var composite [limit / 2]bool

func makeTable() {
	composite[0] = true
	for p := 3; p*p < limit; p += 2 {
		for multiple := p * p; multiple < limit && !composite[p/2]; multiple += 2 * p {
			composite[multiple/2] = true
		}
	}
}

func ways(number int) (count int) {
	for p := 3; 2*p <= number; p += 2 {
		if !composite[p/2] && !composite[(number-p)/2] {
			count++
		}
	}
	return count
}

func main() {
	makeTable()
	arguments, err := denali.Ready()
	if err != nil {
		log.Fatal(err)
	}
	block := -1
	if len(arguments) > 0 {
		block, err = strconv.Atoi(arguments[0])
	}
	if err != nil || block < 0 || block >= blocks {
		log.Fatalf("give the number of a block, below %d", blocks)
	}
	file, err := denali.Result("ways.csv")
	if err != nil {
		log.Fatal(err)
	}
	sum := 0
	for i := 0; i < numbers; i++ {
		number := first + 2*(block*numbers+i)
		count := ways(number)
		fmt.Fprintf(file, "%d,%d\n", number, count)
		sum += count
		denali.Progress(float64(i+1) / numbers)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("block %d: %d ways\n", block, sum)
}

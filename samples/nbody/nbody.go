// The sun and its giant planets, step by step, in as many goroutines as the second argument says: what `denali bench
// program` measures Go by. Arguments: steps, goroutines.
package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
)

type vector [3]float64

type body struct {
	x, v vector
	mass float64
}

const (
	year = 365.24
	sun  = 4 * math.Pi * math.Pi
)

// Position in astronomical units, velocity in those a day, mass in suns.
var start = []body{
	{mass: 1},
	{vector{4.8414, -1.1603, -0.1036}, vector{0.00166, 0.00769, -0.00006}, 9.548e-4},
	{vector{8.3433, 4.1248, -0.4035}, vector{-0.00276, 0.00499, 0.00002}, 2.859e-4},
	{vector{12.8943, -15.1111, -0.2233}, vector{0.00296, 0.00237, -0.00003}, 4.366e-5},
	{vector{15.3796, -25.9193, 0.1793}, vector{0.00268, 0.00162, -0.00009}, 5.151e-5},
}

func energy(bodies []body) float64 {
	total := 0.0
	for i, a := range bodies {
		total += a.mass * (a.v[0]*a.v[0] + a.v[1]*a.v[1] + a.v[2]*a.v[2]) / 2
		for _, b := range bodies[i+1:] {
			square := 0.0
			for c := range a.x {
				square += (a.x[c] - b.x[c]) * (a.x[c] - b.x[c])
			}
			total -= a.mass * b.mass / math.Sqrt(square)
		}
	}
	return total
}

func advance(bodies []body, day float64) {
	for i := range bodies {
		a := &bodies[i]
		for j := i + 1; j < len(bodies); j++ {
			b := &bodies[j]
			var d vector
			square := 0.0
			for c := range d {
				d[c] = a.x[c] - b.x[c]
				square += d[c] * d[c]
			}
			pull := day / (square * math.Sqrt(square))
			for c := range d {
				a.v[c] -= d[c] * b.mass * pull
				b.v[c] += d[c] * a.mass * pull
			}
		}
	}
	for i := range bodies {
		for c := range bodies[i].x {
			bodies[i].x[c] += day * bodies[i].v[c]
		}
	}
}

func run(steps int, results chan<- float64) {
	bodies := append([]body(nil), start...)
	for i := range bodies {
		for c := range bodies[i].v {
			bodies[i].v[c] *= year
		}
		bodies[i].mass *= sun
	}
	for i := 0; i < steps; i++ {
		advance(bodies, 0.01)
	}
	results <- energy(bodies)
}

func main() {
	steps, err := strconv.Atoi(os.Args[1])
	count, err2 := strconv.Atoi(os.Args[2])
	if err != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "arguments: steps, goroutines")
		os.Exit(2)
	}
	results := make(chan float64)
	for i := 0; i < count; i++ {
		go run(steps, results)
	}
	for i := 0; i < count; i++ {
		fmt.Printf("%.9f\n", <-results)
	}
}

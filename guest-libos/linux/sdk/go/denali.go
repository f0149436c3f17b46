// Package denali is what a Linux program can tell Denali: how far it is, that it is ready for a job, and which files are
// its results. The same program runs anywhere else, where these functions do the natural thing.
package denali

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// What Progress told last, in thousandths and one more.
var told int32

// Inside says whether the program runs in a Denali VM.
func Inside() bool {
	_, err := os.Stat("/dev/denali")
	return err == nil
}

// Progress says which part of the job is done, from 0 to 1. In a VM it reaches whoever waits for the job; what was said
// before Ready, or is less than before, does not. Elsewhere it is drawn on standard error, if that is a terminal. Call it as
// often as you like: only thousandths count.
func Progress(fraction float64) {
	permille := 0
	if fraction >= 1 {
		permille = 1000
	} else if fraction > 0 {
		permille = int(fraction * 1000)
	}
	if atomic.SwapInt32(&told, int32(permille)+1) == int32(permille)+1 {
		return
	}
	// That it cannot be told is no error of the program.
	device, err := os.OpenFile("/dev/denali/progress", os.O_WRONLY, 0)
	if err == nil {
		device.WriteString(strconv.Itoa(permille))
		device.Close()
	} else if status, err := os.Stderr.Stat(); err == nil && status.Mode()&os.ModeCharDevice != 0 {
		end := map[bool]string{true: "\n"}[permille == 1000]
		fmt.Fprintf(os.Stderr, "\r%5.1f %%%s", float64(permille)/10, end)
	}
}

// Ready says that the program is ready for a job, and gives the job's arguments, without the program's name.
//
// Of a program that was packed with --ready the VM may be copied at this place: what comes before the call runs once for
// many jobs, what comes after it once for each. So seed random numbers after it, and neither read standard input nor write to
// standard output or standard error before it: a VM that has done so is not copied, nor one that took more than a second to
// come here. Elsewhere, and in a VM without --ready, the call returns at once.
func Ready() ([]string, error) {
	bytes, err := os.ReadFile("/dev/denali/ready")
	if os.IsNotExist(err) {
		return os.Args[1:], nil
	}
	atomic.StoreInt32(&told, 0)
	words := strings.Split(string(bytes), "\x00")
	return words[:len(words)-1], err
}

// Result makes a named result of the job, empty to begin with. A name may have directories: "tables/3.csv". In a VM it is a
// file below /out, which whoever submitted the job finds below --output-dir once the job ended; elsewhere a file in the
// directory $DENALI_OUT, or in out where there is no such variable.
func Result(name string) (*os.File, error) {
	directory, ok := os.LookupEnv("DENALI_OUT")
	if Inside() {
		directory = "/out"
	} else if !ok {
		directory = "out"
	}
	if !fs.ValidPath(name) || name == "." || len(name) > 255 {
		return nil, fmt.Errorf("no result can be called %q; give a relative path of at most 255 bytes without ..", name)
	}
	path := filepath.Join(directory, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	return os.Create(path)
}

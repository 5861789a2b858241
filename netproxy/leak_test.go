package netproxy

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// checkLeaks runs the tests and then waits for the goroutines and descriptors
// of all proxies to be gone.
func checkLeaks(m *testing.M) int {
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	if code != 0 {
		return code
	}
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		runtime.GC() // pooled pipes of splice(2) are closed by their finalizers
		g, f := runtime.NumGoroutine(), openFiles()
		// The poller of the first use stays.
		if g <= goroutines+1 && f <= files+4 {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "leak: %d goroutines (%d before), %d files (%d before)\n", g, goroutines, f, files)
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			return 1
		}
	}
	return 1
}

func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

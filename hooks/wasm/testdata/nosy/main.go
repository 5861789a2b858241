// A hook that looks for what it should not find.
package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/penstock/penstock/hooks/wasm/guest"
)

//go:wasmexport penstock_decide
func decide(at, size uint32) uint64 { return guest.Decide(at, size, judge) }

func judge(r *guest.Request) guest.Decision {
	switch r.Path {
	case "/env":
		return guest.Deny(fmt.Sprintf("%d variables, %d arguments", len(os.Environ()), len(os.Args)))
	case "/time":
		return guest.Deny(time.Now().UTC().Format(time.DateOnly))
	case "/sleep":
		time.Sleep(time.Second)
		return guest.Deny("slept")
	case "/random":
		var b [8]byte
		rand.Read(b[:])
		return guest.Deny(fmt.Sprintf("%x", b))
	case "/input":
		n, err := os.Stdin.Read(make([]byte, 10))
		return guest.Deny(fmt.Sprint(n, err))
	case "/panic":
		panic("boom")
	case "/exit":
		os.Exit(0)
	case "/deep":
		return guest.Deny(fmt.Sprint(deep(1 << 30)))
	}
	return guest.Next()
}

func deep(n int) int {
	if n == 0 {
		return 0
	}
	return deep(n-1) + n
}

func main() {}

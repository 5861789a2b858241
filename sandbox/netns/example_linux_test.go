package netns_test

import (
	"context"
	"fmt"
	"os"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/netns"
)

// A supervisor builds a pen's network, takes its sockets and hands them to the
// process that reads what the tool sends.
func Example() {
	next := &sandbox.Command{Path: "/usr/bin/bwrap", Argv: []string{"bwrap", "--version"}}
	b, err := netns.Start("/proc/self/exe", next, [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, netns.Options{})
	if err != nil {
		fmt.Println(err) // with cause; err.(*netns.Error).Fix is what to do
		return
	}
	defer b.Close()
	sockets, err := b.Sockets(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sockets.Close()
	listeners, err := sockets.CaptureListeners()
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		c, err := listeners[0].AcceptTCP()
		if err != nil {
			return
		}
		dst, err := netns.OriginalDst(c)
		fmt.Println(dst, err)
		c.Close()
	}
}

package netns

import (
	"context"
	"os"
	"time"

	"github.com/penstock/penstock/sandbox"
)

// Probe builds a pen's network and takes it down again. The error is an *Error
// with cause and fix; nil means that a pen can be built here. ipv6 tells whether
// such a pen has IPv6, took how long it was until the sockets were there.
func Probe(ctx context.Context, self string) (ipv6 bool, took time.Duration, err error) {
	begin := time.Now()
	// The builder executes its own program with a role that ends at once.
	b, err := Start(self, &sandbox.Command{Path: self, Argv: []string{self, Role, probeArgument}}, [3]*os.File{}, Options{})
	if err != nil {
		return false, 0, err
	}
	defer b.Close()
	s, err := b.Sockets(ctx)
	if err != nil {
		return false, 0, err
	}
	defer s.Close()
	return s.IPv6(), time.Since(begin), nil
}

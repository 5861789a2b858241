package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// tmpfs is a list of directories that are memory of the machine's.
type tmpfs []wire.Tmpfs

func (t *tmpfs) String() string { return fmt.Sprint(*t) }

// Set adds MODE:SIZE:PATH, the mode in octal digits.
func (t *tmpfs) Set(text string) error {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 {
		return fmt.Errorf("%q is not MODE:SIZE:PATH", text)
	}
	mode, err := strconv.ParseUint(parts[0], 8, 12)
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return err
	}
	*t = append(*t, wire.Tmpfs{Path: parts[2], Mode: uint32(mode), Size: size})
	return nil
}

// ports is a list of them.
type ports []uint16

func (p *ports) String() string { return fmt.Sprint(*p) }

// Set adds one.
func (p *ports) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return err
	}
	*p = append(*p, uint16(n))
	return nil
}

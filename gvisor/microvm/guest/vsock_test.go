package guest

import (
	"testing"
)

// TestVsockPort: only this argument of the kernel's says that there is vsock, and a port
// that is none is an error.
func TestVsockPort(t *testing.T) {
	for arguments, want := range map[string]uint32{
		"": 0, "console=ttyS0 quiet\n": 0, "xpenstock.vsock=7": 0, "penstock.vsock": 0, "a penstock.vsock=1024 b\n": 1024, "penstock.vsock=4294967295": 1<<32 - 1,
	} {
		if got, err := vsockPort(arguments); got != want || err != nil {
			t.Errorf("%q: %d %v", arguments, got, err)
		}
	}
	for _, bad := range []string{"penstock.vsock=", "penstock.vsock=0", "penstock.vsock=-1", "penstock.vsock=4294967296", "penstock.vsock=x"} {
		if _, err := vsockPort(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

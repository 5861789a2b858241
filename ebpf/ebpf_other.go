//go:build !linux

package ebpf

import (
	"net/netip"
	"os"
)

// Programs are loaded programs.
type Programs struct{}

// Session is what the programs keep of one session.
type Session struct{}

// Slot is what the programs keep of one proxy.
type Slot struct{}

// Probe says that nothing works here.
func Probe() []Feature {
	var out []Feature
	for _, name := range []string{FeaturePens, FeatureProcess, FeatureGuard, FeatureSteering, FeatureErrno, FeatureAncestor, FeatureLSM} {
		out = append(out, Feature{Name: name, State: Unavailable, Reason: ErrUnsupported.Error()})
	}
	return out
}

// EnsureBPFFS needs Linux.
func EnsureBPFFS(string) error { return ErrUnsupported }

// CgroupID needs Linux.
func CgroupID(*os.File) (uint64, error) { return 0, ErrUnsupported }

// Sweep needs Linux.
func Sweep(string) error { return ErrUnsupported }

// Load needs Linux.
func Load(Options) (*Programs, error) { return nil, ErrUnsupported }

// Features says what was loaded.
func (*Programs) Features() []Feature { return nil }

// Deny needs Linux.
func (*Session) Deny([]netip.Prefix) error { return ErrUnsupported }

// AddSession needs Linux.
func (*Programs) AddSession(uint64) (*Session, error) { return nil, ErrUnsupported }

// AddSlot needs Linux.
func (*Programs) AddSlot(uint64, []Allowed) (*Slot, error) { return nil, ErrUnsupported }

// Detach needs Linux.
func (*Programs) Detach() error { return ErrUnsupported }

// Close does nothing.
func (*Programs) Close() error { return nil }

// Events needs Linux.
func (*Session) Events() (*os.File, error) { return nil, ErrUnsupported }

// Steer needs Linux.
func (*Session) Steer(*os.File, *os.File, *os.File) error { return ErrUnsupported }

// Counters needs Linux.
func (*Session) Counters() (Counters, error) { return Counters{}, ErrUnsupported }

// Close does nothing.
func (*Session) Close() error { return nil }

// Denied needs Linux.
func (*Slot) Denied() (uint64, error) { return 0, ErrUnsupported }

// Close does nothing.
func (*Slot) Close() error { return nil }

package ebpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	cilium "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// loadError is the kernel's refusal of programs, with the end of what its
// verifier said.
type loadError struct {
	what string
	err  error
}

func (e *loadError) Error() string {
	text := fmt.Sprintf("load eBPF programs, %s: %v", e.what, e.err)
	if verifier, ok := errors.AsType[*cilium.VerifierError](e.err); ok {
		lines := verifier.Log
		if len(lines) > 30 {
			lines = lines[len(lines)-30:]
		}
		text += "\nverifier:\n\t" + strings.Join(lines, "\n\t")
	}
	return text
}

func (e *loadError) Unwrap() error { return e.err }

// reason is an error in one line. The loader guesses at a limit of memory each
// time that the kernel refuses; Load has lifted that one.
func reason(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	line, _, _ = strings.Cut(line, " (MEMLOCK")
	return line
}

func helperFeature(name string, have bool, without string) Feature {
	if have {
		return Feature{Name: name, State: Available}
	}
	return Feature{Name: name, State: Unavailable, Reason: without}
}

// Probe tries what this kernel lets this process do: it loads each program and
// throws it away. Nothing is attached. Some 0.1 s.
func Probe() []Feature {
	p := newPrograms(Options{PenLevel: 1, SlotLevel: 1, RingBytes: os.Getpagesize(), Pen: Pen{
		Own4: netip.IPv4Unspecified(), Own6: netip.IPv6Unspecified(),
	}})
	defer p.Close()
	err := p.load()
	if err == nil {
		return p.features
	}
	// They stand and fall together: a daemon without one of them uses none.
	state, why := Unavailable, reason(err)
	if !capable() {
		state, why = Unknown, "takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: "+why
	}
	var out []Feature
	for _, name := range []string{FeaturePens, FeatureProcess, FeatureGuard, FeatureSteering, FeatureErrno, FeatureAncestor, FeatureLSM} {
		out = append(out, Feature{Name: name, State: state, Reason: why})
	}
	return out
}

// capable tells whether this process has the capabilities that loading takes.
func capable() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	return has(unix.CAP_SYS_ADMIN) || has(unix.CAP_BPF) && has(unix.CAP_PERFMON) && has(unix.CAP_NET_ADMIN)
}

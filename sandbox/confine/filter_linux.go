//go:build amd64 || arm64

package confine

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// verdict is what a filter returns to the kernel (linux/seccomp.h).
type verdict uint32

const (
	allow verdict = unix.SECCOMP_RET_ALLOW
	kill  verdict = unix.SECCOMP_RET_KILL_PROCESS
)

func deny(e unix.Errno) verdict { return verdict(unix.SECCOMP_RET_ERRNO | uint32(e)) }

// offsets in struct seccomp_data, which both supported architectures lay out
// little-endian.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// condition decides one system call by its arguments. It always returns.
type condition struct {
	nr   uint32
	code []bpf.Instruction
}

// filter is a seccomp program before assembly: what it does not name is allowed.
type filter struct {
	arch   uint32
	x32    bool                 // this architecture has a second set of numbers to refuse
	denied map[verdict][]uint32 // refused whatever the arguments
	order  []verdict            // of denied, so that the program is the same each time
	tests  []condition
}

func (f *filter) deny(v verdict, nrs ...uint32) {
	if f.denied == nil {
		f.denied = map[verdict][]uint32{}
	}
	if _, ok := f.denied[v]; !ok {
		f.order = append(f.order, v)
	}
	f.denied[v] = append(f.denied[v], nrs...)
}

func (f *filter) test(nr uint32, code ...bpf.Instruction) {
	f.tests = append(f.tests, condition{nr, code})
}

// chunk is how many numbers share one return: a jump spans at most 255 instructions.
const chunk = 200

// instructions lays the program out: architecture, foreign numbers, plain
// refusals, conditions, allow. The kernel keeps a bitmap of the calls that are
// allowed without a look at their arguments (since 5.11), so the length of the
// list costs nothing per call.
func (f *filter) instructions() []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: f.arch, SkipTrue: 1},
		// 32-bit entry points have other numbers for everything below.
		ret(kill),
		bpf.LoadAbsolute{Off: offNr, Size: 4},
	}
	if f.x32 {
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: x32Bit, SkipFalse: 2},
			// -1 is what a tracer writes to skip a call; it runs nothing.
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: ^uint32(0), SkipTrue: 1},
			ret(deny(unix.ENOSYS)),
		)
	}
	for _, v := range f.order {
		for nrs := f.denied[v]; len(nrs) > 0; {
			n := min(len(nrs), chunk)
			for i, nr := range nrs[:n-1] {
				p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipTrue: uint8(n - 1 - i)})
			}
			p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nrs[n-1], SkipFalse: 1}, ret(v))
			nrs = nrs[n:]
		}
	}
	for _, t := range f.tests {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: t.nr, SkipFalse: uint8(len(t.code))})
		p = append(p, t.code...)
	}
	return append(p, ret(allow))
}

// assemble returns the program as the kernel and bwrap take it: an array of
// struct sock_filter.
func (f *filter) assemble() ([]byte, error) {
	raw, err := bpf.Assemble(f.instructions())
	if err != nil {
		return nil, fmt.Errorf("assemble seccomp filter: %w", err)
	}
	if len(raw) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("assemble seccomp filter: %d instructions, more than %d", len(raw), unix.BPF_MAXINSNS)
	}
	out := make([]byte, 0, 8*len(raw))
	for _, r := range raw {
		out = binary.NativeEndian.AppendUint16(out, r.Op)
		out = append(out, r.Jt, r.Jf)
		out = binary.NativeEndian.AppendUint32(out, r.K)
	}
	return out, nil
}

func ret(v verdict) bpf.Instruction { return bpf.RetConstant{Val: uint32(v)} }

// arg loads the lower half of an argument. The kernel takes int and unsigned
// int arguments from the lower half only, so comparing more would let a set
// upper bit pass by (CVE-2019-10063).
func arg(i int) bpf.Instruction { return bpf.LoadAbsolute{Off: uint32(offArgs + 8*i), Size: 4} }

// refuseBits refuses a call if any bit of mask is set in argument i.
func refuseBits(i int, mask uint32, v verdict) []bpf.Instruction {
	return []bpf.Instruction{
		arg(i),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: mask, SkipFalse: 1},
		ret(v),
		ret(allow),
	}
}

// refuseBitsIf refuses a call if a bit of mask is set in argument i while a
// bit of flag is set in argument j.
func refuseBitsIf(j int, flag uint32, i int, mask uint32, v verdict) []bpf.Instruction {
	return append([]bpf.Instruction{
		arg(j),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: flag, SkipTrue: 1},
		ret(allow),
	}, refuseBits(i, mask, v)...)
}

// refuseValues refuses a call if argument i is one of vals.
func refuseValues(i int, v verdict, vals ...uint32) []bpf.Instruction {
	out := []bpf.Instruction{arg(i)}
	for _, val := range vals {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipFalse: 1}, ret(v))
	}
	return append(out, ret(allow))
}

// only refuses a call unless argument i is one of vals.
func only(i int, v verdict, vals ...uint32) []bpf.Instruction {
	out := []bpf.Instruction{arg(i)}
	for _, val := range vals {
		out = append(out, bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipFalse: 1}, ret(allow))
	}
	return append(out, ret(v))
}

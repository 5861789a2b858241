//go:build amd64 || arm64

package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DaemonFilter returns the seccomp program of the privileged supervisor: that of
// the pen, but for bpf(2). It makes no namespace and enters none, mounts nothing,
// traces nobody, loads no module and has no socket but the kinds that its proxies
// need, which inherit it.
func DaemonFilter() ([]byte, error) { return daemonFilter().assemble() }

func daemonFilter() *filter {
	f := penFilter(false)
	for v, nrs := range f.denied {
		kept := nrs[:0:0]
		for _, nr := range nrs {
			if nr != unix.SYS_BPF {
				kept = append(kept, nr)
			}
		}
		f.denied[v] = kept
	}
	return f
}

// Daemon locks this process, root's, all of its threads and what they start, down
// to the capabilities that it keeps. The bounding set is emptied: nothing that it
// executes gets any. It can't be undone. An error leaves the process partly locked:
// the caller must exit.
func Daemon(keep []int) error {
	// Not dumpable: no core file with other users' descriptors in it, and nobody
	// without CAP_SYS_PTRACE looks into it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid memory dumps: %w", err)
	}
	each := allThreads{}
	if err := noNewPrivs(each); err != nil {
		return err
	}
	if err := boundNothing(each); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, want [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range keep {
		bit := uint32(1) << (c % 32) & have[c/32].Permitted
		want[c/32].Permitted |= bit
		want[c/32].Effective |= bit
	}
	if errno := each.call(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0); errno != 0 {
		return fmt.Errorf("drop capabilities: %w", threadsError(errno))
	}
	program, err := DaemonFilter()
	if err != nil {
		return err
	}
	return install(program)
}

// Janitor locks this process, root's, all of its threads, down to listing and
// removing empty directories below dirs, whatever their modes, where the kernel has
// Landlock; else to what CAP_DAC_OVERRIDE alone gives. An error leaves the process
// partly locked: the caller must exit.
func Janitor(dirs []string) error {
	rs := ruleset{fs: accessAll}
	for _, dir := range dirs {
		rs.rules = append(rs.rules, PathRule{Path: dir, Access: Clear})
	}
	if err := Daemon([]int{unix.CAP_DAC_OVERRIDE}); err != nil {
		return err
	}
	return rs.downgrade(LandlockABI()).restrict(allThreads{})
}

// Guest holds every thread of the calling process to these paths and no others, for
// good. It is an error where the kernel has no Landlock that can.
func Guest(paths []PathRule) error {
	abi := LandlockABI()
	rs := ruleset{fs: accessAll, rules: paths}.downgrade(abi)
	if rs.fs == 0 {
		return fmt.Errorf("enter Landlock domain: ABI %d can't hold paths", abi)
	}
	return rs.restrict(allThreads{})
}

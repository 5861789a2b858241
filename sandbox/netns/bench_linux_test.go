package netns

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/penstock/penstock/sandbox"
	"golang.org/x/sys/unix"
)

func BenchmarkBuild(b *testing.B) {
	for b.Loop() {
		p, err := Start("/proc/self/exe", &sandbox.Command{Path: "/proc/self/exe", Argv: []string{"penstock", Role, probeArgument}}, [3]*os.File{}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s, err := p.Sockets(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
		p.Wait()
	}
}

// BenchmarkBareStart is what of BenchmarkBuild is only starting this binary,
// twice, with the namespaces.
func BenchmarkBareStart(b *testing.B) {
	for b.Loop() {
		cmd := exec.Command("/proc/self/exe", Role, probeArgument)
		cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareStartInNamespaces(b *testing.B) {
	for b.Loop() {
		cmd := exec.Command("/proc/self/exe", Role, probeArgument)
		cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
}

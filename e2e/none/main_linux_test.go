package none

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/e2e/invariants/host"
)

func TestMain(m *testing.M) {
	os.Exit(host.Main(m, map[string]func([]string) int{"out": outTool, "leave": leaveTool}))
}

// outTool tries what leads out of the network or takes it over, and says how that
// ended: args are an address outside and a process that is not in the network.
func outTool(args []string) int {
	runtime.LockOSThread()
	say := func(what string, err error) {
		if err == nil {
			fmt.Println(what + ": done")
			return
		}
		fmt.Printf("%s: %v\n", what, err)
	}
	if c, err := net.Dial("udp", args[0]); err == nil {
		c.Write([]byte("out"))
		c.Close()
	}
	if c, err := net.Dial("tcp", args[0]); err == nil {
		c.Write([]byte("out\n"))
		c.Read(make([]byte, 1))
		c.Close()
	}
	for _, port := range []string{"1", "53", "808"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
		}
		say("port "+port, err)
	}
	fd, err := unix.Open("/proc/"+args[1]+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWNET)
	}
	say("setns", err)
	_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	say("packet", err)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		ifr, _ := unix.NewIfreq("lo")
		ifr.SetUint16(0)
		err = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
	}
	say("lo", err)
	say("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	return 0
}

// leaveTool leaves processes behind that have sessions, parents and namespaces of
// their own. With "kill" it kills the role above it, and waits to be killed then; so
// it does with "wait".
func leaveTool(args []string) int {
	if len(args) == 1 && args[0] == "hidden" {
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
		unix.Pause()
		return 0
	}
	for _, flags := range []uintptr{0, syscall.CLONE_NEWUSER, syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET} {
		c := exec.Command("/bin/sh", "-c", "setsid sleep 100000 & sleep 100000 & exit 0")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: flags}
		if err := c.Run(); err != nil {
			fmt.Println("not left:", err)
		}
	}
	// One that others of the same user can't look at.
	c := exec.Command(host.Tool, "tool", "leave", "hidden")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		fmt.Println("not left:", err)
	}
	fmt.Println("left")
	switch strings.Join(args, " ") {
	case "kill":
		unix.Kill(os.Getppid(), unix.SIGKILL)
		unix.Pause()
	case "wait":
		unix.Pause()
	}
	return 0
}

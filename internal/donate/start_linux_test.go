package donate

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// parent starts a process that would live on, says its number and waits to be
// killed.
func parent() {
	cmd := exec.Command("sleep", "1000")
	if _, err := Start(cmd, nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestStartedDiesWithItsParent(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), child+"=parent")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	cmd.Process.Kill()
	cmd.Wait()
	ended := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(ended, 10_000)
	for err == unix.EINTR {
		n, err = unix.Poll(ended, 10_000)
	}
	if n != 1 {
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		t.Errorf("it lives on (%v)", err)
	}
}

func TestStartTellsTheEnd(t *testing.T) {
	var there error = unix.ESRCH
	cmd := exec.Command("sh", "-c", "exit 7")
	p, err := Start(cmd, func(pid int) {
		unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		there = unix.Kill(pid, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	for range 2 {
		if err := p.Wait(); err == nil || err.Error() != "exit status 7" {
			t.Errorf("Wait: %v", err)
		}
	}
	if there != nil {
		t.Errorf("reaped too early: %v", there)
	}
	if _, err := Start(exec.Command("/nonexistent"), nil); err == nil {
		t.Error("started what is not there")
	}
}

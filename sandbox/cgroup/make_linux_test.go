package cgroup

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

func TestMake(t *testing.T) {
	g, limits, caps, err := Make(sandbox.Limits{PIDs: 20, OpenFiles: 64})
	if err != nil {
		t.Fatal(err)
	}
	if len(caps) != 2 || len(limits) == 0 {
		t.Fatalf("%v %v", limits, caps)
	}
	if g == nil {
		t.Skipf("no delegated control group of version 2 here: %s", caps[0].Detail)
	}
	defer g.Close()
	cmd := exec.Command("cat", "/proc/self/cgroup")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(g.File().Fd())}
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), g.Path) {
		t.Errorf("%q %v", out, err)
	}
}

func TestStartTimeNamesAProcess(t *testing.T) {
	if s := startTime(os.Getpid()); s == "" || s == startTime(1) {
		t.Errorf("%q", s)
	}
	if s := startTime(1 << 29); s != "" {
		t.Errorf("%q", s)
	}
}

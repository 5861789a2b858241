package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProfile: what is committed is what is generated, and what makes pens is in it.
func TestProfile(t *testing.T) {
	committed, err := os.ReadFile("../seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("go"); err == nil {
		name := filepath.Join(t.TempDir(), "seccomp.json")
		if err := run(name); err != nil {
			t.Fatal(err)
		}
		if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, committed) {
			t.Errorf("seccomp.json is not what go generate writes: make generate (%v)", err)
		}
	}
	var p profile
	if err := json.Unmarshal(committed, &p); err != nil {
		t.Fatal(err)
	}
	if p.DefaultAction != "SCMP_ACT_ERRNO" || p.DefaultErrnoRet != 38 || len(p.ArchMap) != 2 {
		t.Errorf("what is not named: %s %d %v", p.DefaultAction, p.DefaultErrnoRet, p.ArchMap)
	}
	always, sometimes := map[string]bool{}, map[string]bool{}
	for _, r := range p.Syscalls {
		if r.Action != allow {
			t.Errorf("%v: %s", r.Names, r.Action)
		}
		for _, n := range r.Names {
			if len(r.Args) == 0 {
				always[n] = true
			} else {
				sometimes[n] = true
			}
		}
	}
	for _, n := range strings.Fields("clone clone3 unshare setns mount umount2 pivot_root sethostname fsopen fsmount move_mount open_tree mount_setattr seccomp prctl landlock_create_ruleset landlock_restrict_self ptrace memfd_create pidfd_open close_range") {
		if !always[n] {
			t.Errorf("pens need %s", n)
		}
	}
	for _, n := range refused() {
		if always[n] || sometimes[n] {
			t.Errorf("%s is allowed", n)
		}
	}
	for _, n := range []string{"personality", "socket"} {
		if always[n] || !sometimes[n] {
			t.Errorf("%s is allowed whatever its arguments", n)
		}
	}
}

// TestBuildLeavesOut: what is refused, or has a condition, is not among the plain names.
func TestBuildLeavesOut(t *testing.T) {
	b, err := build([]string{"read", "bpf", "socket", "brand_new"})
	if err != nil {
		t.Fatal(err)
	}
	var p profile
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	if want := []string{"brand_new", "breakpoint", "cacheflush", "read", "set_tls"}; !slices.Equal(p.Syscalls[0].Names, want) {
		t.Errorf("%v", p.Syscalls[0].Names)
	}
	if _, err := calls(t.TempDir()); err == nil {
		t.Error("no sources are no system calls")
	}
}

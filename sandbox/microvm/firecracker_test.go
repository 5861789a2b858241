package microvm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirecrackerUnavailable: what is missing is a cause and a remedy, in the order in
// which somebody would mend it, and nothing is run.
func TestFirecrackerUnavailable(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	write := func(name string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte("#!/bin/sh\ntouch "+ran+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	plain, kvm, program, jailer := write("plain", 0o644), write("kvm", 0o600), write("firecracker", 0o755), write("jailer", 0o755)
	none := filepath.Join(dir, "none")
	for name, tt := range map[string]struct {
		m    monitor
		want string
	}{
		"no program":           {monitor{programs: []string{none, plain}, kvm: kvm}, "there is no Firecracker: none of " + none + ", " + plain},
		"root without jailer":  {monitor{programs: []string{program}, jailers: []string{none}, kvm: kvm, root: true}, "not run as root without its jailer"},
		"no KVM":               {monitor{programs: []string{program}, kvm: none}, "needs KVM, which is not here: open " + none},
		"no KVM for root":      {monitor{programs: []string{program}, jailers: []string{jailer}, kvm: none, root: true}, "needs KVM"},
		"no holder":            {monitor{programs: []string{program}, kvm: kvm}, Program + " is not in "},
		"KVM that may not be":  {monitor{programs: []string{program}, kvm: write("forbidden", 0)}, "can't be opened: permission denied"},
		"KVM that is no file":  {monitor{programs: []string{program}, kvm: dir}, "needs KVM"},
		"no holder, by root":   {monitor{programs: []string{none, program}, jailers: []string{none, jailer}, kvm: kvm, root: true}, Program + " is not in "},
		"programs in no place": {monitor{kvm: kvm}, "there is no Firecracker"},
	} {
		if strings.HasSuffix(tt.m.kvm, "forbidden") && os.Getuid() == 0 {
			continue // root may
		}
		f := &Firecracker{Options{Self: filepath.Join(dir, "penstock"), Cache: dir}, host{}, tt.m}
		said, err := f.Try(t.Context())
		if said != "" || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q %v, want %s", name, said, err, tt.want)
		}
		h, ok := err.(interface{ Hint() string })
		if !ok || h.Hint() == "" || strings.Contains(err.Error()+h.Hint(), "\n") {
			t.Errorf("%s: no remedy of one line: %v", name, err)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("something was run")
	}
	m := monitor{programs: []string{program}, jailers: []string{jailer}, kvm: kvm}
	if p, j, err := m.find(); err != nil || p != program || j != "" {
		t.Errorf("as a user: %q %q %v", p, j, err)
	}
	m.root = true
	if p, j, err := m.find(); err != nil || p != program || j != jailer {
		t.Errorf("as root: %q %q %v", p, j, err)
	}
}

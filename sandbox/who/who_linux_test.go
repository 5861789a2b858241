package who

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// check fails for each connection that was not attributed to the process that
// made it.
func (pn *pen) check(all []seen) {
	pn.t.Helper()
	wrong, missing := 0, 0
	for _, s := range all {
		switch {
		case s.p == nil:
			missing++
			pn.t.Logf("%q: %v", s.line, s.err)
		case s.number != s.claim:
			wrong++
			pn.t.Logf("%q: process %d (%d in the pen) %s", s.line, s.p.PID, s.number, s.p.Exe.Path)
		}
	}
	if wrong+missing > 0 {
		pn.t.Errorf("of %d connections %d are wrong and %d are missing", len(all), wrong, missing)
	}
}

func TestLookup(t *testing.T) {
	self, _ := os.Executable()
	for name, addr := range map[string]string{
		"captured": "198.18.0.7:443", "explicit": "127.0.0.1:808", "IPv6": "[2001:db8::7]:443", "explicit IPv6": "[::1]:808",
		"mapped": "[::ffff:198.18.0.8]:443",
	} {
		t.Run(name, func(t *testing.T) {
			for _, exact := range []bool{false, true} {
				pn := newPen(t, func(p *Pen) { p.Exact, p.Hash = exact, true }, self, toolRole, "dial", addr, "20")
				pn.run()
				all := pn.wait(20)
				pn.check(all)
				p := all[0].p
				if p == nil {
					t.Fatal(all[0].err)
				}
				if p != all[19].p {
					t.Errorf("the same process is two values: %+v, %+v", p, all[19].p)
				}
				if p.UID != os.Getuid() || p.Exe.Path != self || p.Exe.SHA256 != hashOf(t, self) || p.Start == 0 || p.Shared {
					t.Errorf("%+v", p)
				}
				if !slices.Equal(p.Args, []string{self, toolRole, "dial", addr, "20"}) {
					t.Errorf("arguments %q", p.Args)
				}
			}
		})
	}
}

// Each process of many says which it is; all connections are there at once.
func TestManyProcesses(t *testing.T) {
	self, _ := os.Executable()
	for _, exact := range []bool{false, true} {
		t.Run(fmt.Sprint("exact ", exact), func(t *testing.T) {
			pn := newPen(t, func(p *Pen) { p.Exact = exact }, self, toolRole, "many", "198.18.0.7:443", "100", "10")
			pn.run()
			all := pn.wait(1000)
			pn.check(all)
			slow := slices.MaxFunc(all, func(a, b seen) int { return int(a.took - b.took) })
			t.Logf("slowest lookup %s", slow.took)
		})
	}
}

// A shell pipeline: short-lived processes, children of the shell.
func TestPrograms(t *testing.T) {
	script := `printf 'GET / x\n' | curl -sS telnet://198.18.0.9:80; echo 1 | curl -sS telnet://198.18.0.9:80 | cat`
	need(t, "curl")
	pn := newPen(t, nil, "/bin/sh", "-c", script)
	pn.run()
	for _, s := range pn.wait(2) {
		if s.p == nil || !strings.HasSuffix(s.p.Exe.Path, "/curl") || s.p.Parent == nil || s.p.Parent.Args[0] != "/bin/sh" {
			t.Errorf("%q: %+v, %v", s.line, s.p, s.err)
		}
	}
}

func hashOf(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

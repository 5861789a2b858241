package install

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// exposure is the most that systemd-analyze security may say of the service, of
// 10. What is left of it: it is root, on the machine's network, with eight
// capabilities.
const exposure = 3.7

// testUnits lets systemd read the units.
func testUnits(t *testing.T, m *machine) {
	world.Tool(t, "systemd-analyze")
	args := []string{"systemd-analyze", "verify", "--recursive-errors=one"}
	if _, err := exec.LookPath("man"); err != nil { // else it looks for the units' pages by it
		args = append(args, "--man=no")
	}
	out, code := m.run("root", append(args, "penstock.socket", "penstock.service")...)
	if code != 0 || strings.Contains(out, "penstock") {
		t.Errorf("systemd-analyze verify: exit %d\n%s", code, out)
	}
	out, code = m.run("root", "systemd-analyze", "security", "--offline=yes", fmt.Sprintf("--threshold=%d", int(exposure*10)), "--no-pager", "penstock.service")
	if code != 0 {
		t.Errorf("systemd-analyze security: exit %d, more exposed than %.1f\n%s", code, exposure, out)
	}
}

// keepLimits puts back, when the test ends, what systemd raises for the whole
// machine as soon as it starts.
func keepLimits(t *testing.T) {
	t.Helper()
	for _, name := range []string{"/proc/sys/fs/file-max", "/proc/sys/fs/nr_open"} {
		was, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.WriteFile(name, was, 0) })
	}
}

// stopUnits ends the supervisor that systemd has started, and looks at what
// systemd thinks of it.
func (m *machine) stopUnits() {
	m.t.Helper()
	const unit = "penstock.service"
	m.show(unit, "ActiveState=active", "NRestarts=0", "Result=success")
	m.must("root", "systemctl", "restart", unit)
	m.must("root", "systemctl", "stop", "penstock.socket", unit)
	m.show(unit, "ActiveState=inactive", "Result=success")
	if m.exists(socket) {
		m.t.Error("the socket is left")
	}
}

// show compares what systemd says of a unit.
func (m *machine) show(unit string, want ...string) {
	m.t.Helper()
	out := strings.Fields(m.must("root", "systemctl", "show", "--property=ActiveState,NRestarts,Result", unit))
	for _, w := range want {
		if !slices.Contains(out, w) {
			m.t.Errorf("%s: %v, want %s", unit, out, w)
		}
	}
}

// call is a line of strace: the process, the call, what it was given and what
// came of it.
var call = regexp.MustCompile(`(?m)^[0-9]+ +([a-z_0-9]+)\((.*?)(\) += (.*)| <unfinished.*)?$`)

// testSystemCalls compares what the supervisor and its proxies did with what the
// unit allows them: a filter of systemd's would have made it fail.
func testSystemCalls(t *testing.T, m *machine) {
	b, err := os.ReadFile(m.path(traceFile))
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile(m.path("/usr/lib/systemd/system/penstock.service"))
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	var families []string
	for line := range strings.Lines(string(unit)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "SystemCallFilter":
			words, deny := strings.CutPrefix(value, "~")
			for _, w := range strings.Fields(words) {
				for _, name := range m.callsOf(w) {
					allowed[name] = !deny
				}
			}
		case "RestrictAddressFamilies":
			families = strings.Fields(value)
		}
	}
	if len(allowed) < 100 || len(families) == 0 {
		t.Fatalf("the unit allows %d calls and the families %v", len(allowed), families)
	}
	seen := map[string]bool{}
	for _, c := range call.FindAllStringSubmatch(string(b), -1) {
		name, args, first := c[1], c[2], ""
		first, _, _ = strings.Cut(args, ",")
		seen[name] = true
		switch {
		// The first is setpriv's own, before it starts the supervisor.
		case !allowed[name] && !seen["refused "+name]:
			seen["refused "+name] = true
			t.Errorf("the unit's SystemCallFilter refuses %s(%.100s", name, args)
		case (name == "socket" || name == "socketpair") && !slices.Contains(families, first):
			t.Errorf("the unit's RestrictAddressFamilies refuses %s(%.100s", name, args)
		case (name == "clone" || name == "clone3" || name == "unshare" || name == "setns") && strings.Contains(args, "CLONE_NEW"):
			t.Errorf("the unit's RestrictNamespaces refuses %s(%.100s", name, args)
		case strings.HasPrefix(name, "mmap") && strings.Contains(args, "PROT_WRITE|PROT_EXEC"), name == "mprotect" && strings.Contains(args, "PROT_EXEC"):
			t.Errorf("the unit's MemoryDenyWriteExecute refuses %s(%.100s", name, args)
		}
	}
	for _, name := range []string{"execve", "accept4", "sendmsg", "setuid", "bpf"} {
		if !seen[name] {
			t.Errorf("the trace does not show %s: %d calls in %d bytes", name, len(seen), len(b))
		}
	}
}

// callsOf expands a set of systemd.exec(5)'s SystemCallFilter.
func (m *machine) callsOf(word string) (names []string) {
	m.t.Helper()
	if !strings.HasPrefix(word, "@") {
		return []string{word}
	}
	for line := range strings.Lines(m.must("root", "systemd-analyze", "--no-pager", "syscall-filter", word)) {
		if w := strings.TrimSpace(line); w != "" && w != word && !strings.HasPrefix(w, "#") {
			names = append(names, m.callsOf(w)...)
		}
	}
	return names
}

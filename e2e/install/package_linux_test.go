package install

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// The version that the packages of these tests have, and a later one.
const (
	version = "0.0.1"
	later   = "0.0.2"
)

// packages builds the packages of one version, once per test process.
func packages(t *testing.T, version string) string {
	t.Helper()
	needRoot(t)
	built.Lock()
	defer built.Unlock()
	if dir := built.dirs[version]; dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("", "penstock-packages-")
	if err != nil {
		t.Fatal(err)
	}
	// Beyond this test: the next one takes them too.
	built.dirs[version] = dir
	formats := ""
	if version == later {
		formats = " deb" // that is all that an upgrade needs
	}
	build(t, filepath.Join("..", ".."), dir, version, "022", formats)
	return dir
}

// built are directories with packages, by version.
var built = struct {
	sync.Mutex
	dirs map[string]string
}{dirs: map[string]string{}}

func build(t *testing.T, tree, dist, version, umask, formats string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", "umask "+umask+" && exec packaging/build"+formats)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "DIST="+dist, "VERSION="+version, "SOURCE_DATE_EPOCH=1767225600")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the packages: %v\n%s", err, out)
	}
}

func deb(t *testing.T, version string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(packages(t, version), "penstock_*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages of %s: %v %v", version, found, err)
	}
	return found[0]
}

// install puts a version into the machine.
func (m *machine) install(version string) string {
	m.t.Helper()
	m.put(deb(m.t, version), "/tmp/penstock.deb", 0o644)
	return m.must("root", "dpkg", "--force-confold", "--install", "/tmp/penstock.deb")
}

// TestPackagesAreReproducible builds them twice: here, and in a copy of the
// sources elsewhere, with other times and under another umask.
func TestPackagesAreReproducible(t *testing.T) {
	first, second := packages(t, version), t.TempDir()
	tree := t.TempDir()
	top := filepath.Join("..", "..")
	// The files that would be committed, as they are now.
	copyTree := exec.Command("bash", "-c", `git -C "$0" ls-files -z --cached --others --exclude-standard | (cd "$0" && tar --create --null --files-from=- --ignore-failed-read) | tar -C "$1" --touch --extract`, top, tree)
	if out, err := copyTree.CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v\n%s", err, out)
	}
	build(t, tree, second, version, "077", "")
	names, err := os.ReadDir(first)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, e := range names {
		a, err := os.ReadFile(filepath.Join(first, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(second, e.Name())); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same twice: %v", e.Name(), err)
		}
		kinds[filepath.Ext(e.Name())] = true
	}
	for _, kind := range []string{".deb", ".rpm", ".apk", ".gz"} {
		if !kinds[kind] {
			t.Errorf("no %s was built", kind)
		}
	}
}

// TestInstallUpgradePurge follows a package through its life.
func TestInstallUpgradePurge(t *testing.T) {
	m := newMachine(t)
	before := m.files()

	out := m.install(version)
	for _, complaint := range []string{"warning", "error", "failed"} {
		if strings.Contains(strings.ToLower(out), complaint) {
			t.Errorf("dpkg --install: %s", out)
		}
	}
	if got := strings.TrimSpace(m.must("root", "penstock", "--version")); got != "penstock "+version {
		t.Errorf("penstock --version: %q", got)
	}
	if out := m.must("root", "dpkg", "--verify", "penstock"); out != "" {
		t.Errorf("dpkg --verify:\n%s", out)
	}
	t.Run("files", func(t *testing.T) { testFiles(t, m) })
	t.Run("manual", func(t *testing.T) { testManual(t, m) })
	t.Run("completions", func(t *testing.T) { testCompletions(t, m) })
	t.Run("policy", func(t *testing.T) { testDefaultPolicy(t, m) })
	t.Run("units", func(t *testing.T) { testUnits(t, m) })

	// What an administrator wrote and what the supervisor kept stay.
	const wrote = "version: 1\negress:\n  deny:\n    - host: never.example\n"
	m.write("/etc/penstock/policy.yaml", wrote, 0o644)
	m.write("/var/lib/penstock/kept", "an audit", 0o600)
	group := m.must("root", "getent", "group", "penstock")
	m.must("root", "systemctl", "--root=/", "disable", "penstock.socket")
	m.install(later)
	if got := strings.TrimSpace(m.must("root", "penstock", "--version")); got != "penstock "+later {
		t.Errorf("penstock --version after the upgrade: %q", got)
	}
	m.must("root", "dpkg", "--remove", "penstock")
	if m.exists("/usr/bin/penstock") || m.exists("/run/penstock") {
		t.Error("removed, but the program or /run/penstock is there")
	}
	m.install(version)
	if b, err := os.ReadFile(m.path("/etc/penstock/policy.yaml")); err != nil || string(b) != wrote {
		t.Errorf("policy.yaml after upgrade, removal and installation: %v\n%s", err, b)
	}
	if b, err := os.ReadFile(m.path("/var/lib/penstock/kept")); err != nil || string(b) != "an audit" {
		t.Errorf("state after upgrade, removal and installation: %v %q", err, b)
	}
	if got := m.must("root", "getent", "group", "penstock"); got != group {
		t.Errorf("group %s became %s", group, got)
	}
	if m.exists("/etc/systemd/system/sockets.target.wants/penstock.socket") {
		t.Error("the socket was disabled by hand and is enabled again")
	}

	m.must("root", "dpkg", "--purge", "penstock")
	m.nothingLeft(before)
}

// nothingLeft compares the machine's files and groups with those of before.
func (m *machine) nothingLeft(before map[string]bool) {
	m.t.Helper()
	var left []string
	for name := range m.files() {
		if !before[name] {
			left = append(left, name)
		}
	}
	sort.Strings(left)
	if len(left) > 0 {
		m.t.Errorf("left after purge:\n%s", strings.Join(left, "\n"))
	}
	if out, code := m.run("root", "getent", "group", "penstock"); code == 0 {
		m.t.Errorf("the group is left after purge: %s", out)
	}
}

// files are the paths of the machine's own file system where a package, or what
// it starts, can leave something.
func (m *machine) files() map[string]bool {
	m.t.Helper()
	// What dpkg, useradd and the manual's index keep for themselves changes.
	out := m.must("root", "find", "/etc", "/usr", "/var/lib", "/var/log", "/var/cache", "/run", "/opt", "/sys/fs/bpf",
		"-path", "/var/cache/man", "-prune", "-o", "-path", "/var/lib/dpkg/*-old", "-o", "-name", "*-", "-o",
		"-path", "/run/systemd", "-prune", "-o", "-path", "/var/cache/penstock", "-prune", "-o", "-print")
	found := map[string]bool{}
	for line := range strings.Lines(out) {
		found[strings.TrimSpace(line)] = true
	}
	if len(found) < 1000 {
		m.t.Fatalf("only %d files in the machine", len(found))
	}
	return found
}

// testFiles holds each installed file to its mode and owner.
func testFiles(t *testing.T, m *machine) {
	want := map[string]string{
		"/usr/bin/penstock":                                  "755 root:root",
		"/usr/libexec/penstock/penstock-gvisor":              "755 root:root",
		"/usr/share/bash-completion/completions/penstock":    "644 root:root",
		"/usr/share/zsh/vendor-completions/_penstock":        "644 root:root",
		"/usr/share/fish/vendor_completions.d/penstock.fish": "644 root:root",
		"/usr/lib/systemd/system/penstock.socket":            "644 root:root",
		"/usr/lib/systemd/system/penstock.service":           "644 root:root",
		"/usr/lib/sysusers.d/penstock.conf":                  "644 root:root",
		"/usr/lib/tmpfiles.d/penstock.conf":                  "644 root:root",
		"/usr/share/penstock/apparmor/penstock":              "644 root:root",
		"/usr/share/doc/penstock/copyright":                  "644 root:root",
		"/usr/share/doc/penstock/changelog.Debian.gz":        "644 root:root",
		"/etc/penstock":                "755 root:root",
		"/etc/penstock/policy.yaml":    "644 root:root",
		"/etc/penstock/supervise.yaml": "644 root:root",
		"/run/penstock":                "755 root:root",
		"/var/lib/penstock":            "700 root:root",
	}
	for name, mode := range want {
		if got := strings.TrimSpace(m.must("root", "stat", "--format=%a %U:%G", name)); got != mode {
			t.Errorf("%s is %s, want %s", name, got, mode)
		}
	}
	out := m.must("root", "sh", "-c", "dpkg --listfiles penstock | xargs -d '\\n' stat --format='%a %U:%G %n'")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); (f[0] != "755" && f[0] != "644") || f[1] != "root:root" {
			t.Errorf("a file of the package is %s", line)
		}
	}
	conffiles := m.must("root", "dpkg-query", "--show", "--showformat=${Conffiles}", "penstock")
	for _, name := range []string{"/etc/penstock/policy.yaml", "/etc/penstock/supervise.yaml"} {
		if !strings.Contains(conffiles, name) {
			t.Errorf("%s is no conffile:\n%s", name, conffiles)
		}
	}
	if !m.exists("/etc/systemd/system/sockets.target.wants/penstock.socket") {
		t.Error("the socket is not enabled")
	}
	// Static: it runs where there is no C library.
	for _, name := range []string{"/usr/bin/penstock", "/usr/libexec/penstock/penstock-gvisor"} {
		if out, _ := m.run("root", "ldd", name); !strings.Contains(out, "not a dynamic executable") {
			t.Errorf("ldd: %s", out)
		}
	}
	if out := m.must("root", "/usr/libexec/penstock/penstock-gvisor", "version"); out != "penstock-gvisor "+version+"\n" {
		t.Errorf("the version of gVisor's program: %q", out)
	}
}

// testManual asks for each page that the sources have.
func testManual(t *testing.T, m *machine) {
	pages, err := filepath.Glob("../../docs/man/*.1")
	if err != nil || len(pages) < 10 {
		t.Fatalf("pages in docs/man: %d, %v", len(pages), err)
	}
	mandoc := world.Tool(t, "mandoc")
	for _, p := range pages {
		name := "/usr/share/man/man1/" + filepath.Base(p) + ".gz"
		if out, code := m.run("root", "sh", "-c", "zcat "+name+" | "+mandoc+" -T html"); code != 0 || !strings.Contains(out, "SYNOPSIS") {
			t.Errorf("%s: exit %d: %.200s", name, code, out)
		}
	}
}

// testCompletions loads bash's, and looks at what the other shells' begin with.
func testCompletions(t *testing.T, m *machine) {
	out := m.must("root", "bash", "-c", ". /usr/share/bash-completion/completions/penstock && complete -p penstock")
	if !strings.Contains(out, "penstock") {
		t.Errorf("bash: %s", out)
	}
	if out := m.must("root", "penstock", "__complete", "aud"); !strings.Contains(out, "audit") {
		t.Errorf("what the completions ask: %s", out)
	}
	for name, begin := range map[string]string{
		"/usr/share/zsh/vendor-completions/_penstock":        "#compdef penstock\n",
		"/usr/share/fish/vendor_completions.d/penstock.fish": "# fish completion for penstock",
	} {
		if b, err := os.ReadFile(m.path(name)); err != nil || !strings.HasPrefix(string(b), begin) {
			t.Errorf("%s: %v, begins with %.40q", name, err, b)
		}
	}
}

// testDefaultPolicy: the policy that is installed changes no decision.
func testDefaultPolicy(t *testing.T, m *machine) {
	m.must("root", "penstock", "policy", "check", "/etc/penstock/policy.yaml")
	with := m.must("root", "penstock", "policy", "show")
	const file, aside = "/etc/penstock/policy.yaml", "/etc/penstock/policy.yaml.aside"
	m.must("root", "mv", file, aside)
	without := m.must("root", "penstock", "policy", "show")
	m.must("root", "mv", aside, file)
	if with != without {
		t.Errorf("penstock policy show with the installed policy:\n%s\nand without:\n%s", with, without)
	}
	// Its examples are examples of something: without the marks they are a policy.
	b, err := os.ReadFile(m.path(file))
	if err != nil {
		t.Fatal(err)
	}
	_, examples, ok := strings.Cut(string(b), "version: 1\n")
	if !ok {
		t.Fatalf("%s has no version", file)
	}
	m.write("/tmp/examples.yaml", "version: 1\n"+strings.ReplaceAll(strings.ReplaceAll(examples, "\n# ", "\n"), "\n#\n", "\n"), 0o644)
	if shown := m.must("root", "penstock", "policy", "check", "/tmp/examples.yaml"); strings.Contains(shown, "error") {
		t.Error(shown)
	}
}

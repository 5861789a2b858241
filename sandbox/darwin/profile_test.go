package darwin

import (
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

var update = flag.Bool("update", false, "write the golden files")

func bind(p string, write bool) sandbox.Mount {
	return sandbox.Mount{Source: p, Target: p, Write: write}
}

// session is the Spec of a usual session, as a planner for macOS would make it.
func session() *sandbox.Spec {
	return &sandbox.Spec{
		Penstock: "/usr/local/bin/penstock", Terminal: true,
		Mounts: []sandbox.Mount{
			{Kind: sandbox.Tmpfs, Target: "/tmp", Write: true},
			{Kind: sandbox.Tmpfs, Target: "/Users/u", Write: true},
			bind("/tmp/pen", true),
			bind("/Users/u/.nvm", false),
			bind("/Users/u/work", true),
			bind("/Users/u/work/.git/config", false),
			bind("/Users/u/work/.git/hooks", false),
			{Kind: sandbox.BlankDir, Target: "/Users/u/work/.vscode"},
			{Source: "/Users/u/.bun", Target: "/Users/u/.bun", Optional: true},
		},
	}
}

// TestGolden: what whole profiles look like.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec *sandbox.Spec
		o    Options
	}{
		{"session", session(), Options{Proxy: 15080, Terminal: "/dev/ttys003"}},
		{"closed", &sandbox.Spec{}, Options{}},
		{"text", &sandbox.Spec{Mounts: []sandbox.Mount{bind(`/Users/u/a "b" \c) (allow default`, true), bind("/Users/u/żółw", false)}}, Options{Services: []string{"com.apple.SecurityServer"}}},
	} {
		if tt.name == "session" {
			if err := new(Backend).Prepare(tt.spec); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Profile(tt.spec, tt.o, usual(`/Users/u/a "b" \c) (allow default/`, "/Users/u/żółw/"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(got); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		golden := filepath.Join("testdata", tt.name+".sb")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s:\n%s", tt.name, golden, got)
		}
	}
}

// TestSession: what a usual session may and may not.
func TestSession(t *testing.T) {
	s := session()
	if err := new(Backend).Prepare(s); err != nil {
		t.Fatal(err)
	}
	text, err := Profile(s, Options{Proxy: 15080, Terminal: "/dev/ttys003"}, usual())
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want bool
		asked
	}{
		{true, asked{op: "file-read-data", path: "/Users/u/work/src/a"}},
		{true, asked{op: "file-write-create", path: "/Users/u/work/src/new"}},
		{true, asked{op: "file-write-unlink", path: "/Users/u/work/src"}},
		{true, asked{op: "file-write-data", path: "/private/tmp/pen/x"}},
		{true, asked{op: "process-exec", path: "/usr/bin/git"}},
		{true, asked{op: "process-exec", path: "/usr/local/bin/penstock"}},
		{true, asked{op: "process-exec-interpreter", path: "/bin/sh"}},
		{true, asked{op: "file-map-executable", path: "/usr/lib/dyld"}},
		{true, asked{op: "file-read-data", path: "/Users/u/work/.git/config"}},
		{true, asked{op: "file-read-metadata", path: "/Users/u"}}, // on the way
		{true, asked{op: "file-read-metadata", path: "/tmp"}},
		{true, asked{op: "signal", target: "same-sandbox"}},
		{true, asked{op: "process-fork"}},
		{true, asked{op: "network-outbound", remote: "tcp localhost:15080"}},
		{true, asked{op: "file-write-data", path: "/dev/null"}},
		{true, asked{op: "file-ioctl", path: "/dev/ttys003"}},
		{true, asked{op: "file-write-data", path: "/dev/ttys010", extension: "com.apple.sandbox.pty"}},
		{true, asked{op: "mach-lookup", service: "com.apple.system.opendirectoryd.libinfo"}},
		{true, asked{op: "sysctl-read", sysctl: "hw.ncpu"}},

		// Files.
		{false, asked{op: "file-read-data", path: "/Users/u"}},
		{false, asked{op: "file-read-data", path: "/Users/u/.ssh/id"}},
		{false, asked{op: "file-read-metadata", path: "/Users/u/.ssh"}},
		{false, asked{op: "file-read-data", path: "/System/Volumes/Data/Users/u/.ssh/id"}},
		{false, asked{op: "file-read-data", path: "/System/Volumes/Data/Users/u/work/src/a"}},
		{false, asked{op: "file-read-data", path: "/Users/u/worker"}},
		{false, asked{op: "file-read-data", path: "/private/tmp/other"}},
		{false, asked{op: "file-write-data", path: "/private/etc/hosts"}},
		{false, asked{op: "file-write-data", path: "/Users/u/.nvm/x"}},
		{false, asked{op: "file-write-data", path: "/usr/local/bin/penstock"}},
		{false, asked{op: "file-write-create", path: "/usr/local/bin/git"}},
		{false, asked{op: "process-exec", path: "/Users/u/other/x"}},
		// What is protected, by itself and with what is around it.
		{false, asked{op: "file-write-data", path: "/Users/u/work/.git/config"}},
		{false, asked{op: "file-write-mode", path: "/Users/u/work/.git/config"}},
		{false, asked{op: "file-write-create", path: "/Users/u/work/.git/hooks/pre-commit"}},
		{false, asked{op: "file-write-unlink", path: "/Users/u/work/.git/hooks"}},
		{false, asked{op: "file-write-unlink", path: "/Users/u/work/.git"}},
		{false, asked{op: "file-write-create", path: "/Users/u/work/.git"}},
		{false, asked{op: "file-write-unlink", path: "/Users/u/work"}},
		{false, asked{op: "file-read-data", path: "/Users/u/work/.vscode/tasks.json"}},
		// The network, and other ways out.
		{false, asked{op: "network-outbound", remote: "tcp localhost:15081"}},
		{false, asked{op: "network-outbound", remote: "udp localhost:15080"}},
		{false, asked{op: "network-outbound", remote: "tcp example.com:15080"}},
		{false, asked{op: "network-outbound", path: "/private/var/run/mDNSResponder"}},
		{false, asked{op: "network-inbound"}},
		{false, asked{op: "network-bind"}},
		{false, asked{op: "system-socket"}},
		{false, asked{op: "signal", target: "others"}},
		{false, asked{op: "process-info-pidinfo", target: "others"}},
		{false, asked{op: "sysctl-read", sysctl: "kern.procargs2"}},
		{false, asked{op: "sysctl-write", sysctl: "hw.ncpu"}},
		{false, asked{op: "appleevent-send"}},
		{false, asked{op: "job-creation"}},
		{false, asked{op: "mach-register"}},
		{false, asked{op: "mach-lookup", service: "com.apple.pasteboard.1"}},
		{false, asked{op: "mach-lookup", service: "com.apple.SecurityServer"}},
		{false, asked{op: "mach-lookup", service: "com.apple.securityd.xpc"}},
		{false, asked{op: "mach-lookup", service: "com.apple.trustd.agent"}},
		{false, asked{op: "mach-lookup", service: "com.apple.coreservices.appleevents"}},
		{false, asked{op: "mach-lookup", service: "com.apple.coreservices.launchservicesd"}},
		{false, asked{op: "mach-lookup", service: "com.apple.xpc.launchd.domain.system"}},
		{false, asked{op: "ipc-posix-shm-write-data"}},
		{false, asked{op: "user-preference-read"}},
		{false, asked{op: "iokit-open"}},
		{false, asked{op: "file-ioctl", path: "/dev/ttys004"}},
		{false, asked{op: "file-write-data", path: "/dev/ttys004"}},
		{false, asked{op: "file-read-data", path: "/dev/disk0"}},
		{false, asked{op: "file-link", path: "/Users/u/work/src/b"}},
		{false, asked{op: "forbidden-exec-sugid"}},
		{false, asked{op: "file-write-setugid", path: "/Users/u/work/src/a"}},
	} {
		if got, err := p.allows(tt.asked); err != nil || got != tt.want {
			t.Errorf("%+v: %t, %v", tt.asked, got, err)
		}
	}
	// Without a proxy, terminal or services there are none.
	if text, err = Profile(&sandbox.Spec{}, Options{}, usual()); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"network", "/dev/tty\"", "SecurityServer", "file-write*)"} {
		if strings.Contains(text, word) {
			t.Errorf("an empty profile has %q", word)
		}
	}
}

// meaning is what mounts say of a path, as the kernel of another tier would make it:
// the last one over it decides.
func meaning(s *sandbox.Spec, m *mac, p string) access {
	out := nothing
	for _, x := range s.Mounts {
		target := m.real(x.Target)
		_, there := m.nodes[target]
		if !within(p, target) || x.Kind == sandbox.Bind && !there {
			continue
		}
		switch {
		case x.Kind != sandbox.Bind:
			out = nothing
		case x.Write:
			out = writable
		default:
			out = readable
		}
	}
	return out
}

// TestMeaning: for mounts at random, in any order, a profile says of every path what the
// mounts do; and what is around a mount stays where it is.
func TestMeaning(t *testing.T) {
	m := usual("/Users/u/work/.git/info/x", "/Users/u/work/a/b/c/d")
	pool := []string{
		"/Users/u", "/Users", "/Users/u/work", "/Users/u/work/.git", "/Users/u/work/.git/config", "/Users/u/work/.git/hooks", "/Users/u/work/src/a",
		"/Users/u/work/a", "/Users/u/work/a/b", "/Users/u/work/a/b/c", "/tmp", "/tmp/pen", "/private/tmp/pen", "/var/db", "/etc", "/private/etc/hosts",
		"/usr/bin", "/Users/u/.ssh", "/Users/u/work/missing", "/Users/u/work/missing", "/Users/u/work/a/missing", "/Users/u/missing/x",
	}
	var paths []string
	for _, p := range pool {
		for _, q := range []string{p, p + "/x", p + "/x/y", p + "x", path.Dir(p)} {
			if q != "/" {
				paths = append(paths, m.real(q))
			}
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	r := rand.New(rand.NewPCG(3, 4))
	profiles, refused := 0, 0
	for range 800 {
		s := &sandbox.Spec{}
		for range r.IntN(10) {
			p := pool[r.IntN(len(pool))]
			x := sandbox.Mount{Kind: []sandbox.Kind{sandbox.Bind, sandbox.Bind, sandbox.Bind, sandbox.Tmpfs, sandbox.Blank, sandbox.BlankDir, sandbox.Null}[r.IntN(7)], Target: p}
			if x.Kind == sandbox.Bind {
				x.Source, x.Write, x.Optional = p, r.IntN(2) == 0, true
			}
			s.Mounts = append(s.Mounts, x)
		}
		text, err := Profile(s, Options{}, m)
		planted := false // something that is denied, missing, and could be made
		for _, x := range s.Mounts {
			_, there := m.nodes[m.real(x.Target)]
			planted = planted || x.Kind != sandbox.Bind && !there && meaning(s, m, path.Dir(m.real(x.Target))) == writable
		}
		if planted != (err != nil) {
			t.Fatalf("%+v: error %v", s.Mounts, err)
		}
		if err != nil {
			refused++
			continue
		}
		profiles++
		pr, err := parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, p := range paths {
			around := false
			for _, x := range s.Mounts {
				_, there := m.nodes[m.real(x.Target)]
				around = around || (there || x.Kind != sandbox.Bind) && within(m.real(x.Target), p)
			}
			at := meaning(s, m, p)
			for op, want := range map[string]bool{
				"file-read-data": at >= readable, "process-exec": at >= readable, "file-map-executable": at >= readable, "file-read-xattr": at >= readable,
				"file-write-data": at == writable, "file-write-mode": at == writable, "file-write-setugid": false,
				"file-write-create": at == writable && !around, "file-write-unlink": at == writable && !around,
			} {
				if got, err := pr.allows(asked{op: op, path: p}); err != nil || got != want {
					t.Fatalf("%+v\n%s %s: %t, want %t, %v\n%s", s.Mounts, op, p, got, want, err, text)
				}
			}
			if got, err := pr.allows(asked{op: "file-read-metadata", path: p}); err != nil || at >= readable && !got {
				t.Fatalf("%+v\nlook at %s: %t, %v", s.Mounts, p, got, err)
			} else if got && at == nothing && !around && m.real(p) == p {
				t.Fatalf("%+v\n%s can be looked at", s.Mounts, p)
			}
		}
	}
	if profiles < 600 || refused < 30 {
		t.Errorf("%d profiles, %d refused", profiles, refused)
	}
}

// TestRefused: what a profile can't keep is an error that says what to do.
func TestRefused(t *testing.T) {
	m := usual("/Users/u/work/link -> /Users/u/.ssh", "/loop -> /loop", "/up -> ..", "/chain -> tmp", "/Users/u/a\nb", "/Users/u/"+strings.Repeat("x", 300)+"/")
	deep := "/Users/u/" + strings.Repeat("x", 300)
	for _, tt := range []struct {
		name string
		spec sandbox.Spec
		o    Options
		want string
	}{
		{"a file", sandbox.Spec{Files: []sandbox.File{{Target: "/etc/hosts"}}}, Options{}, `file "/etc/hosts" can't be made`},
		{"a link", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Symlink, Source: "usr/bin", Target: "/bin2"}}}, Options{}, `the link at "/bin2" can't be made`},
		{"elsewhere", sandbox.Spec{Mounts: []sandbox.Mount{{Source: "/Users/u/.ssh", Target: "/Users/u/work"}}}, Options{}, `"/Users/u/.ssh" can't be shown at "/Users/u/work"`},
		{"missing", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/none", true)}}, Options{}, `"/Users/u/none" does not exist`},
		{"over a link", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/work/link", true)}}, Options{}, `leads over the symbolic link "/Users/u/work/link"`},
		{"below a link", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/work/link/id", true)}}, Options{}, "leads over the symbolic link"},
		{"a denial over a link", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Blank, Target: "/Users/u/work/link"}}}, Options{}, "leads over the symbolic link"},
		{"a loop", sandbox.Spec{Mounts: []sandbox.Mount{bind("/loop", true)}}, Options{}, "leads over the symbolic link"},
		{"two links", sandbox.Spec{Mounts: []sandbox.Mount{bind("/chain", true)}}, Options{}, "leads over the symbolic link"},
		{"to the root", sandbox.Spec{Mounts: []sandbox.Mount{bind("/up", true)}}, Options{}, "to the root"},
		{"another spelling", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/WORK", true)}}, Options{}, `"/Users/u/WORK" is there by another spelling`},
		{"another spelling, denied", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/work", true), {Kind: sandbox.BlankDir, Target: "/Users/u/work/.VSCODE"}}}, Options{}, "by another spelling"},
		{"missing and denied", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/work", true), {Kind: sandbox.BlankDir, Target: "/Users/u/work/.husky"}}}, Options{}, `"/Users/u/work/.husky" does not exist, in a directory that can be written`},
		{"the root", sandbox.Spec{Mounts: []sandbox.Mount{bind("/", false)}}, Options{}, "it is the whole machine"},
		{"devices", sandbox.Spec{Mounts: []sandbox.Mount{{Source: "/dev", Target: "/dev", Optional: true}}}, Options{}, "devices"},
		{"all data", sandbox.Spec{Mounts: []sandbox.Mount{bind("/System/Volumes/Data/Users", false)}}, Options{}, "a second time"},
		{"all of the system", sandbox.Spec{Mounts: []sandbox.Mount{bind("/System", false)}}, Options{}, "a second time"},
		{"relative", sandbox.Spec{Mounts: []sandbox.Mount{bind("work", true)}}, Options{}, "is no path of a pen"},
		{"not clean", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/work/../.ssh", true)}}, Options{}, "is no path of a pen"},
		{"a line", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/a\nb", true)}}, Options{}, "it has a control character"},
		{"an erasure", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Blank, Target: "/Users/u/a\x7f"}}}, Options{}, "it has a control character"},
		{"a next line", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Blank, Target: "/Users/u/a\u0085"}}}, Options{}, "it has a control character"},
		{"no text", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/\xff", true)}}, Options{}, "it is not UTF-8"},
		{"a separator", sandbox.Spec{Mounts: []sandbox.Mount{bind("/Users/u/\u2028", true)}}, Options{}, "it has a control character"},
		{"too long", sandbox.Spec{Mounts: []sandbox.Mount{{Kind: sandbox.Blank, Target: deep + strings.Repeat("/"+strings.Repeat("y", 200), 4)}}}, Options{}, "bytes can't stand in a profile"},
		{"a terminal", sandbox.Spec{}, Options{Terminal: "/dev/ttys003/../disk0"}, "is no terminal"},
		{"another terminal", sandbox.Spec{}, Options{Terminal: "/dev/tty"}, "is no terminal"},
		{"a service", sandbox.Spec{}, Options{Services: []string{`a") (global-name "b`}}, "is no Mach service"},
		{"no service", sandbox.Spec{}, Options{Services: []string{""}}, "is no Mach service"},
	} {
		text, err := Profile(&tt.spec, tt.o, m)
		if err == nil || text != "" || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Hint() == "" || !strings.HasPrefix(err.Error(), "tier darwin: ") || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: error %q", tt.name, err)
		}
	}
}

// TestReader: the reader of the tests refuses what a profile of ours may not be.
func TestReader(t *testing.T) {
	const head = "(version 1)\n(deny default)\n"
	for _, bad := range []string{
		"", "(version 1)\n(allow default)", "(version 1)(deny default", head + ")", head + "x", head + "(allow file-read*)", head + "(allow)", head + "(allow default)",
		head + `(allow file-read* (subpath "/"))`, head + `(allow file-read* (subpath "/a/"))`, head + `(allow file-read* (subpath "a"))`, head + `(allow file-read* (subpath "/a)`,
		head + `(allow file-read* (subpath "/a\n"))`, head + "(allow file-read* (subpath \"/a\nb\"))", head + `(allow network-outbound (remote tcp "*:80"))`, head + `(allow network-outbound (remote ip "localhost:80"))`,
		head + `(allow network-outbound)`, head + `(allow mach-lookup)`, head + `(allow mach-lookup (global-name-regex #"."))`, head + `(allow network* (remote tcp "localhost:80"))`, head + `(import "a.sb")`,
		head + `(allow signal (target others))`, head + `(allow file-read* (regex #".*"))`, head + `(allow file-read* (require-not (literal "/a")))`,
	} {
		if p, err := parse(bad); err == nil {
			t.Errorf("%q was read: %+v", bad, p)
		}
	}
}

// TestBackend: what it needs for itself is there, and every control is said.
func TestBackend(t *testing.T) {
	b := &Backend{options: Options{Services: []string{"com.example.x"}}}
	if b.Name() != Name || !b.Any() {
		t.Errorf("name %q", b.Name())
	}
	said := map[string]sandbox.Enforcement{}
	for _, c := range b.Capabilities(0) {
		if _, twice := said[c.Control]; twice || c.State != sandbox.Enforced && c.Detail == "" || c.State != sandbox.Unavailable && c.By == "" {
			t.Errorf("%+v", c)
		}
		said[c.Control] = c.State
		if c.Control == "processes" && !strings.Contains(c.Detail, "as asked for com.example.x") {
			t.Errorf("%+v does not say what was asked for", c)
		}
	}
	for _, c := range []string{"network", "file-reads", "file-writes", "processes", "privilege", "syscalls", "devices", "kernel", "attribution", "memory"} {
		if said[c] == "" {
			t.Errorf("nothing is said of %s", c)
		}
	}
	if said["network"] == sandbox.Enforced || said["syscalls"] != sandbox.Unavailable || said["kernel"] != sandbox.Unavailable {
		t.Errorf("more is said than is so: %v", said)
	}
}

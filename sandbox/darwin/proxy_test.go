package darwin

import (
	"strings"
	"testing"
)

// TestProxyProfile: what a proxy in a tool's hands would want is denied, by both
// readings, and what it is for is not.
func TestProxyProfile(t *testing.T) {
	text, err := ProxyProfile("/Users/u/bin/penstock", "/home/u \"x\"")
	if err != nil {
		t.Fatal(err)
	}
	// The reader knows profiles that deny; here what no rule is about is allowed.
	const open = "(version 1)\n(allow default)\n"
	rest, ok := strings.CutPrefix(text, open)
	if !ok {
		t.Fatal(text)
	}
	p, err := parse("(version 1)\n(deny default)\n" + rest)
	if err != nil {
		t.Fatal(err)
	}
	denied := func(a asked) bool {
		t.Helper()
		about := false
		for _, r := range p.rules {
			about = about || r.deny && r.names(a.op) && r.about(a)
		}
		allowed, err := p.allows(a)
		if err != nil {
			t.Error(err)
		}
		return about && !allowed
	}
	for _, a := range []asked{
		{op: "process-fork"}, {op: "process-exec", path: "/bin/sh"}, {op: "signal", target: "others"},
		{op: "file-write-create", path: "/private/tmp/x"}, {op: "file-write-data", path: "/Users/u/bin/penstock"}, {op: "file-write-unlink", path: "/Users/u/a"},
		{op: "file-read-data", path: "/Users/u/.ssh/id"}, {op: "file-read-data", path: "/home/u \"x\"/.ssh/id"}, {op: "file-read-data", path: "/Volumes/disk/a"},
		{op: "file-read-data", path: "/System/Volumes/Data/Users/u/.ssh/id"},
	} {
		if !denied(a) {
			t.Errorf("%+v is not denied", a)
		}
	}
	for _, a := range []asked{
		{op: "network-outbound", remote: "tcp localhost:443"}, {op: "mach-lookup", service: "com.apple.trustd"}, {op: "file-read-data", path: "/private/etc/hosts"},
		{op: "process-exec", path: "/Users/u/bin/penstock"}, {op: "file-read-data", path: "/Users/u/bin/penstock"}, {op: "signal", target: "self"},
	} {
		if denied(a) {
			t.Errorf("%+v is denied", a)
		}
	}
	for _, bad := range [][2]string{{"penstock", "/"}, {"/a/../b", "/"}, {"/a\n", "/"}, {"/a", ""}, {"/a", "/b/"}} {
		if text, err := ProxyProfile(bad[0], bad[1]); err == nil {
			t.Errorf("%q has a profile: %s", bad, text)
		}
	}
}

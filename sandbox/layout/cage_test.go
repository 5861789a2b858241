package layout

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// TestCage sees the system, what it is given, and memory; nothing can be written.
func TestCage(t *testing.T) {
	h := fake("/usr/", "/bin -> usr/bin", "/lib64 -> usr/lib64", "/etc/", "/home/u/hooks/a.py", "/home/u/link -> hooks/a.py", "/home/u/rules/", "/home/u/.ssh/id", "/run/user/s|", "/proc/self/environ")
	for name, c := range map[string]struct {
		names   []string
		network bool
		want    string
		refused string
	}{
		"a script and its rules": {names: []string{"/bin/sh", "/usr/bin/python3", "/home/u/hooks/a.py", "/home/u/rules", "/no/file"},
			want: "/usr=/usr /bin:usr/bin /lib64:usr/lib64 /tmp! /home/u/hooks/a.py=/home/u/hooks/a.py /home/u/rules=/home/u/rules"},
		"a link":              {names: []string{"/home/u/link"}, want: "/usr=/usr /bin:usr/bin /lib64:usr/lib64 /tmp! /home/u/link=/home/u/hooks/a.py"},
		"everything":          {names: []string{"/"}, refused: "more than a program's own files"},
		"a socket":            {names: []string{"/run/user/s"}, refused: "more than"},
		"a process's secrets": {names: []string{"/proc/self/environ"}, refused: "more than"},
		"the machine's":       {names: []string{"/etc"}, refused: "more than"},
	} {
		mounts, err := Cage(c.names, c.network, h)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v, %v", name, mounts, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range mounts {
			switch {
			case m.Kind == sandbox.Symlink:
				got = append(got, m.Target+":"+m.Source)
			case m.Kind == sandbox.Tmpfs:
				got = append(got, m.Target+"!")
			case m.Write:
				t.Errorf("%s: %s can be written", name, m.Target)
			case strings.HasPrefix(m.Target, "/etc/"):
				if m.Source != m.Target || !m.Optional {
					t.Errorf("%s: %+v", name, m)
				}
			default:
				got = append(got, m.Target+"="+m.Source)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s", name, strings.Join(got, " "))
		}
	}
	with, err := Cage(nil, true, h)
	if err != nil || strings.Contains(fmt.Sprint(Cage(nil, false, h)), "resolv.conf") || !strings.Contains(fmt.Sprint(with), "/etc/resolv.conf") {
		t.Errorf("%v, %v", with, err)
	}
}

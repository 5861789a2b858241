//go:build unix

package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSystemProblems: the rules by themselves, for a file of any owner.
func TestSystemProblems(t *testing.T) {
	for _, tt := range []struct {
		mode          uint32
		uid           uint32
		taken, unread string
	}{
		{0o644, 0, "", ""},
		{0o444, 0, "", ""},
		{0o600, 0, "", "users can't read it (mode 0600), and no run of theirs starts without; chmod o+r /etc/p.yaml"},
		{0o664, 0, "others than its owner can write it (mode 0664); chmod go-w /etc/p.yaml", ""},
		{0o646, 0, "others than its owner can write it", ""},
		{0o644, 1000, "it belongs to user 1000, and the administrator's policy is root's; chown root /etc/p.yaml", ""},
		{0o044, 0, "its owner can't read it", ""},
	} {
		var st unix.Stat_t
		st.Uid = tt.uid
		setBits(&st.Mode, tt.mode)
		taken, unread := systemProblems("/etc/p.yaml", &st)
		for _, c := range []struct {
			got  []*Error
			want string
		}{{taken, tt.taken}, {unread, tt.unread}} {
			if c.want == "" && len(c.got) > 0 || c.want != "" && (len(c.got) != 1 || !strings.Contains(c.got[0].Error(), c.want)) {
				t.Errorf("%04o of %d: got %v, want %q", tt.mode, tt.uid, c.got, c.want)
			}
		}
	}
}

func TestCheckSystem(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.yaml")
	if list, err := CheckSystem(path); list != nil || err == nil {
		t.Errorf("no file: %v, %v", list, err)
	}
	if err := os.WriteFile(path, []byte("version: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	try := func(name, want string) {
		t.Helper()
		list, err := CheckSystem(path)
		if err != nil {
			t.Fatal(err)
		}
		// What keeps users out is the test's own directory.
		list = slices.DeleteFunc(list, func(e *Error) bool { return strings.HasPrefix(e.Message, "users can't") })
		if got := (&ErrorList{list}).Error(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if os.Geteuid() != 0 {
		try("a user's", "belongs to user")
		return
	}
	try("root's", "")
	chmod := func(path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(path, 0o666)
	try("everybody's", "others than its owner can write it (mode 0666)")
	chmod(path, 0o644)
	chmod(dir, 0o777)
	try("in everybody's directory", "and so replace the file")
	chmod(dir, 0o777|os.ModeSticky)
	try("in a sticky directory", "")
	chmod(dir, 0o755)
	if err := os.Chown(dir, 12345, 0); err != nil {
		t.Fatal(err)
	}
	try("in a user's directory", "belongs to user 12345, who can replace the file")
	// By a link from elsewhere it is still in that directory.
	file, link := path, filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	path = link
	try("by a link", "belongs to user 12345")
	path = file
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	try("a user's file", "it belongs to user 12345")
}

// setBits hides that the mode has 16 bits on some systems.
func setBits[T uint16 | uint32](to *T, mode uint32) { *to = T(mode) }

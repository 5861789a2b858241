package janitor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// told is what the supervisor writes to the janitor's pipe.
func told(t *testing.T, o Orders) []byte {
	t.Helper()
	doc, err := json.Marshal(&o)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(doc))), doc...)
}

// The janitor removes what was announced first and still is a placeholder, and
// nothing else, whatever follows in the pipe.
func TestTidyRemovesPlaceholdersOnly(t *testing.T) {
	dead, err := os.Open("/dev/null") // always ready, as a dead process's pidfd is
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	dir := t.TempDir()
	place := func(name string, mode os.FileMode) sandbox.Placeholder {
		p := filepath.Join(dir, name)
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return sandbox.Placeholder{Path: p, Dir: true}
	}
	ours := place("ours", os.ModeSticky|0o555)
	users := place("users", 0o755)
	later := place("later", os.ModeSticky|0o555)
	link := sandbox.Placeholder{Path: filepath.Join(dir, "link"), Dir: true}
	if err := os.Symlink(later.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	missing := sandbox.Placeholder{Path: filepath.Join(dir, "missing"), Dir: true}

	pipe := told(t, Orders{Placeholders: []sandbox.Placeholder{ours, users, link, missing}})
	pipe = append(pipe, told(t, Orders{Placeholders: []sandbox.Placeholder{later}})...)
	if err := tidy(bytes.NewReader(pipe), int(dead.Fd())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(ours.Path); !os.IsNotExist(err) {
		t.Errorf("the placeholder is still there: %v", err)
	}
	for _, p := range []sandbox.Placeholder{users, later, link} {
		if _, err := os.Lstat(p.Path); err != nil {
			t.Errorf("removed what was none of its business: %v", err)
		}
	}
}

func TestTidyRefusesGarbage(t *testing.T) {
	for name, pipe := range map[string][]byte{
		"too long":  binary.BigEndian.AppendUint32(nil, maxOrders+1),
		"cut short": {0, 0, 0, 9, '{'},
		"not JSON":  {0, 0, 0, 2, '{', '{'},
	} {
		if err := tidy(bytes.NewReader(pipe), -1); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := tidy(bytes.NewReader(nil), -1); err != nil {
		t.Errorf("nothing planned: %v", err)
	}
}

package confine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func childJanitor(args []string) error {
	dir, outside := args[0], args[1]
	if err := Janitor([]string{dir}); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	if only := uint32(1 << unix.CAP_DAC_OVERRIDE); data != [2]unix.CapUserData{{Effective: only, Permitted: only}} {
		return fmt.Errorf("capabilities %+v", data)
	}
	if LandlockABI() < 2 {
		fmt.Println("no Landlock here")
		return nil
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	return try([]attempt{
		{"list", func() error { _, err := os.ReadDir(dir); return err }, nil},
		{"remove an empty directory", func() error { return os.Remove(at("empty")) }, nil},
		{"remove one that is not", func() error { return unix.Rmdir(at("full")) }, unix.ENOTEMPTY},
		{"remove a file", func() error { return unix.Unlink(at("full/file")) }, unix.EACCES},
		{"read a file", read(at("full/file")), unix.EACCES},
		{"write a file", func() error { return os.WriteFile(at("full/file"), nil, 0o600) }, unix.EACCES},
		{"make a file", func() error { return os.WriteFile(at("new"), nil, 0o600) }, unix.EACCES},
		{"make a directory", func() error { return os.Mkdir(at("new"), 0o700) }, unix.EACCES},
		{"move one", func() error { return os.Rename(at("full"), at("moved")) }, unix.EACCES},
		{"remove one elsewhere", func() error { return unix.Rmdir(outside) }, unix.EACCES},
		{"write elsewhere", func() error { return os.WriteFile(filepath.Join(outside, "x"), nil, 0o600) }, unix.EACCES},
		{"read elsewhere", read("/etc/shadow"), unix.EACCES},
		{"mount", sys(unix.SYS_MOUNT), unix.EPERM},
		{"become another", func() error { return unix.Setuid(1) }, unix.EPERM},
		{"a namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }, unix.EPERM},
	})
}

// TestJanitor: it lists, and removes empty directories that nobody may write, below
// what it was told, and nothing else.
func TestJanitor(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the janitor is root's: root's run has this test")
	}
	dir, outside := filepath.Join(t.TempDir(), "groups"), t.TempDir()
	for _, d := range []string{"empty", "full"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "full", "file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	child(t, "janitor", dir, outside)
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// jail is the jailer, as its documentation says of it (docs/jailer.md): what it checks,
// the root that it makes, whose it is, and what it executes there.
func jail(args []string) error {
	o, more, err := options(args, "id", "exec-file", "uid", "gid", "chroot-base-dir")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`).MatchString(o["id"]) {
		return fmt.Errorf("invalid instance id %q", o["id"])
	}
	program, err := filepath.EvalSymlinks(o["exec-file"])
	if err != nil {
		return err
	}
	name := filepath.Base(program)
	if !strings.Contains(name, "firecracker") {
		return fmt.Errorf("invalid filename %q: it must contain firecracker", name)
	}
	uid, err := strconv.Atoi(o["uid"])
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(o["gid"])
	if err != nil {
		return err
	}
	os.Clearenv()
	root := filepath.Join(o["chroot-base-dir"], name, o["id"], "root")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := duplicate(program, filepath.Join(root, name)); err != nil {
		return err
	}
	// The real one has a mount namespace of its own, and changes the root of that.
	if err := syscall.Chroot(root); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	for _, dir := range []string{"/", "/dev", "/dev/net", "/run"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	if err := syscall.Mknod(kvm, syscall.S_IFCHR|0o600, 10<<8|232); err != nil {
		return fmt.Errorf("make %s: %w", kvm, err)
	}
	if err := os.Chown(kvm, uid, gid); err != nil {
		return err
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("leave the groups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("become the group: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("become the user: %w", err)
	}
	argv := append([]string{"/" + name, "--id=" + o["id"], "--start-time-us=1", "--start-time-cpu-us=1"}, more...)
	return syscall.Exec("/"+name, argv, []string{})
}

const kvm = "/dev/kvm"

func duplicate(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}

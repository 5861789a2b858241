package firecracker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Jail is where and how Firecracker's jailer holds it: in a root of its own below Base,
// as another user, without the caller's environment and descriptors. The jailer has to be
// root for it.
//
// The files are copied into that root and never linked: the user in the jail can read
// what is there, and a link would be the file itself.
type Jail struct {
	Jailer      string // path of the jailer
	Firecracker string // path of Firecracker, no link
	Base        string // directory made for this jail, which is removed with it
	ID          string // letters, digits and hyphens
	UID, GID    int    // whom Firecracker runs as, not root
}

// Names in a jail.
const (
	jailSocket = "api.sock"
	jailVsock  = "vsock.sock"
)

// maxID is the longest id that the jailer takes.
const maxID = 64

// Check says what the jailer would do something else with, or refuse.
func (j *Jail) Check() error {
	if !regexp.MustCompile(`^[A-Za-z0-9-]+$`).MatchString(j.ID) || len(j.ID) > maxID {
		return fmt.Errorf("%q is no id of a machine: 1 to %d letters, digits and hyphens", j.ID, maxID)
	}
	for _, p := range []string{j.Jailer, j.Firecracker, j.Base} {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return fmt.Errorf("%q is no absolute path", p)
		}
	}
	if name := filepath.Base(j.Firecracker); !strings.Contains(name, "firecracker") {
		return fmt.Errorf("the jailer starts no program whose name lacks \"firecracker\": %q", name)
	}
	if j.UID <= 0 || j.GID <= 0 {
		return fmt.Errorf("user %d and group %d are no one else's in a jail", j.UID, j.GID)
	}
	return socketPath(filepath.Join(j.Root(), jailVsock))
}

func (j *Jail) dir() string { return filepath.Join(j.Base, filepath.Base(j.Firecracker), j.ID) }

// Root is what Firecracker sees as "/".
func (j *Jail) Root() string { return filepath.Join(j.dir(), "root") }

// Command is the command line that starts Firecracker in the jail. It is the process that
// is started: the jailer executes Firecracker and forks nothing.
func (j *Jail) Command() []string {
	return []string{
		j.Jailer, "--id", j.ID, "--exec-file", j.Firecracker,
		"--uid", strconv.Itoa(j.UID), "--gid", strconv.Itoa(j.GID), "--chroot-base-dir", j.Base,
		"--", "--api-sock", "/" + jailSocket,
	}
}

// Place is where things are, for Firecracker and for who uses it.
type Place struct {
	Socket          string // of the API, here
	Kernel, Initial string // for Firecracker
	Vsock           string // for Firecracker
	Stream          string // the same, here
}

// Place of a jail.
func (j *Jail) Place() Place {
	return Place{
		Socket: filepath.Join(j.Root(), jailSocket),
		Kernel: "/kernel", Initial: "/initrd",
		Vsock: "/" + jailVsock, Stream: filepath.Join(j.Root(), jailVsock),
	}
}

// Ground returns the first of some directories in which jails can be: on a file system that
// has devices, as the jail's /dev/kvm is made there, and programs, as Firecracker is copied there.
func Ground(dirs ...string) (string, error) {
	for _, dir := range dirs {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Flags&(unix.ST_NODEV|unix.ST_NOEXEC) == 0 {
			return dir, nil
		}
	}
	return "", fmt.Errorf("there is no place for a jail: none of %s is on a file system with devices and programs (mounted without nodev and noexec)", strings.Join(dirs, ", "))
}

// Make makes the jail's root with the kernel and the initial file system. What an error
// leaves is below Base.
func (j *Jail) Make(kernel, initial string) error {
	if err := j.Check(); err != nil {
		return err
	}
	// Not MkdirAll for the last ones: what is there already is not ours.
	if err := os.MkdirAll(filepath.Dir(j.dir()), 0o700); err != nil {
		return fmt.Errorf("make the jail: %w", err)
	}
	if err := os.Mkdir(j.dir(), 0o700); err != nil {
		return fmt.Errorf("make the jail: %w", err)
	}
	err := os.Mkdir(j.Root(), 0o700)
	if err == nil {
		err = errors.Join(place(kernel, filepath.Join(j.Root(), j.Place().Kernel)), place(initial, filepath.Join(j.Root(), j.Place().Initial)))
	}
	if err != nil {
		return fmt.Errorf("make the jail: %w", err)
	}
	return nil
}

// place copies a file, for everybody to read and nobody to write.
func place(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o444), out.Close()) // whatever the umask
}

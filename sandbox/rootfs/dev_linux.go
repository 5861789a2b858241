package rootfs

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nodes clones the host's devices by name. The terminal that is standard output,
// if it is one, becomes the console: ttyname(3) finds it there, since its own
// name is in another instance of devpts.
func (r *Root) nodes() (map[string]int, error) {
	out := map[string]int{}
	if !r.Devices {
		return out, nil
	}
	sources := map[string]string{}
	for _, d := range devices() {
		sources[d] = "/dev/" + d
	}
	if name, ok := terminalName(1); ok {
		sources["console"] = name
	}
	for name, source := range sources {
		fd, err := unix.Open(source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return out, fmt.Errorf("open %s: %w", source, err)
		}
		tree, err := clone(fd, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
		unix.Close(fd)
		if err != nil {
			if name == "console" { // a terminal of a namespace that is gone: only its name is lost
				continue
			}
			return out, fmt.Errorf("show %s: %w", source, err)
		}
		out[name] = tree
	}
	return out, nil
}

// terminalName returns the path of a descriptor's terminal in this mount
// namespace: the descriptor itself was opened in another.
func terminalName(fd int) (string, bool) {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return "", false
	}
	buf := make([]byte, 256)
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "/dev/") {
		return "", false
	}
	name := string(buf[:n])
	var a, b unix.Stat_t
	if unix.Fstat(fd, &a) != nil || unix.Lstat(name, &b) != nil || a.Dev != b.Dev || a.Ino != b.Ino || a.Rdev != b.Rdev {
		return "", false
	}
	return name, true
}

// makeDev fills /dev.
func makeDev(root int, nodes map[string]int) error {
	if err := unix.Mkdirat(root, "dev", 0o755); err != nil {
		return err
	}
	under, err := unix.Openat(root, "dev", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = unix.Mount("tmpfs", "/proc/self/fd/"+strconv.Itoa(under), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
	unix.Close(under)
	if err != nil {
		return err
	}
	dev, err := unix.Openat(root, "dev", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	for name, tree := range nodes {
		if err := unix.Mknodat(dev, name, unix.S_IFREG|0o444, 0); err != nil {
			return err
		}
		at, err := unix.Openat(dev, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		unix.Close(at)
		if err != nil {
			return fmt.Errorf("show %s: %w", name, err)
		}
	}
	for _, l := range deviceLinks() {
		if err := unix.Symlinkat(l[0], dev, l[1]); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		name string
		mode uint32
	}{{"shm", 0o1777}, {"pts", 0o755}} {
		if err := unix.Mkdirat(dev, d.name, d.mode); err != nil {
			return err
		}
	}
	pts, err := unix.Openat(dev, "pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pts)
	return unix.Mount("devpts", "/proc/self/fd/"+strconv.Itoa(pts), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
}

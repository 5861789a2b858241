package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// EnsureBPFFS mounts a BPF file system on path, usually /sys/fs/bpf, unless one
// is there. Only root opens what is in it. Takes CAP_SYS_ADMIN.
func EnsureBPFFS(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", path, err)
	}
	if uint32(st.Type) == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", path, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", path, err)
	}
	return nil
}

// CgroupID is the number by which the programs know the group that dir is open
// on: its inode (kernfs_node.id on machines of 64 bits).
func CgroupID(dir *os.File) (uint64, error) {
	var st unix.Stat_t
	err := control(dir, func(fd int) error { return unix.Fstat(fd, &st) })
	if err != nil {
		return 0, fmt.Errorf("identify control group: %w", err)
	}
	return st.Ino, nil
}

// Sweep removes what a Load of an earlier process left pinned below dir, which
// detaches it. It touches nothing that does not bear one of our names and is not
// a link of the kernel's; what it leaves is named in the error.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep eBPF pins: %w", err)
	}
	names := map[string]bool{}
	for _, a := range attachments {
		names[a.program] = true
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !names[e.Name()] {
			err = errors.Join(err, fmt.Errorf("sweep eBPF pins: %s is not ours", path))
			continue
		}
		l, lerr := link.LoadPinnedLink(path, nil)
		if lerr != nil {
			err = errors.Join(err, fmt.Errorf("sweep eBPF pins: %w", lerr))
			continue
		}
		err = errors.Join(err, l.Unpin(), l.Close())
	}
	if err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("sweep eBPF pins: %w", err)
	}
	return nil
}

// control calls f with the descriptor of a file. Unlike Fd it leaves the file's
// mode alone, which everybody who shares the file would notice.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

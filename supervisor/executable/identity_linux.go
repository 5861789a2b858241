package executable

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounts are the devices of mounted file systems as the kernel numbers them
// itself, by mount.
type Mounts map[uint64]uint64

// ReadMounts reads this process's mounts (proc_pid_mountinfo(5)). What can't be
// read is left out: then only what stat(2) says is known.
func ReadMounts() Mounts {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return parseMounts(string(table))
}

func parseMounts(table string) Mounts {
	m := Mounts{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		id, err := strconv.ParseUint(f[0], 10, 64)
		major, minor, ok := strings.Cut(f[2], ":")
		a, err1 := strconv.ParseUint(major, 10, 32)
		b, err2 := strconv.ParseUint(minor, 10, 32)
		if ok && err == nil && err1 == nil && err2 == nil {
			m[id] = unix.Mkdev(uint32(a), uint32(b))
		}
	}
	return m
}

// identity returns the file's inode and its device: as stat(2) has it, and where
// that is another one, the file system's own.
func (m Mounts) identity(path string, f *os.File) (dev []uint64, ino uint64, err error) {
	at, flags := unix.AT_FDCWD, 0
	if f != nil {
		at, path, flags = int(f.Fd()), "", unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(at, path, flags, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return nil, 0, fmt.Errorf("describe it: %w", err)
	}
	dev = []uint64{unix.Mkdev(st.Dev_major, st.Dev_minor)}
	if st.Mask&unix.STATX_MNT_ID != 0 { // since Linux 5.8
		if d, ok := m[st.Mnt_id]; ok && d != dev[0] {
			dev = append(dev, d)
		}
	}
	return dev, st.Ino, nil
}

package bwrap

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownedByRoot checks that nobody but root can change file: neither itself nor
// any directory on the way to it. In a user namespace without root's id in its
// map, root's files belong to the overflow user.
func ownedByRoot(file string) error {
	for p := file; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			return err
		}
		if st.Uid != 0 && st.Uid != overflowUID {
			return fmt.Errorf("%s belongs to user %d, not to root", p, st.Uid)
		}
		if st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 && st.Gid != 0 || st.Mode&unix.S_IWOTH != 0 {
			return fmt.Errorf("%s can be written by others", p)
		}
		if p == file && st.Mode&0o111 == 0 {
			return errors.New("it is not executable")
		}
		if p == "/" {
			return nil
		}
	}
}

// overflowUID is what /proc/sys/kernel/overflowuid says everywhere.
const overflowUID = 65534

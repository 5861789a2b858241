//go:build !linux && !darwin

package layout

import "os"

func (*machine) Writable(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode().Perm()&0o200 != 0
}

func (*machine) Private(name string) bool {
	st, err := os.Lstat(name)
	return err == nil && st.Mode().Perm()&0o004 == 0
}

func (*machine) Sockets() []string { return nil }

func openRegular(name string) (*os.File, error) { return os.Open(name) }

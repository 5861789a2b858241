package donate

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Fixed returns a file to read doc from, at its start, that nobody can change.
func Fixed(doc []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("penstock-config", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create role configuration: %w", err)
	}
	f := os.NewFile(uintptr(fd), "penstock-config")
	if _, err := f.Write(doc); err != nil {
		f.Close()
		return nil, fmt.Errorf("write role configuration: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("rewind role configuration: %w", err)
	}
	// Sealed: the parent's copy can't change what the child reads later.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal role configuration: %w", err)
	}
	return f, nil
}

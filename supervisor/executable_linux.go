package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/hooks"
)

// maxExecutable bounds the executable whose content a rule asks for, in bytes.
const maxExecutable = 1 << 30

// resolveExecutables finds the files that the policy's rules name as processes.
// A pen sees the system's programs at their own places, and its other files
// under the caller's paths, so the host's file at a path is the pen's.
func (s *session) resolveExecutables() error {
	hash := s.cfg.Policy.NeedsHash()
	p, err := s.cfg.Policy.ResolveExecutables(func(path string) ([]hooks.Executable, error) { return executable(path, hash) })
	if err != nil {
		return err
	}
	s.cfg.Policy = p
	return nil
}

// executable says which file a path names, as the caller.
func executable(path string, hash bool) ([]hooks.Executable, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0:
		return nil, errors.New("not an executable file")
	case hash && st.Size > maxExecutable:
		return nil, fmt.Errorf("more than %d bytes", maxExecutable)
	}
	e := hooks.Executable{Path: path, Dev: st.Dev, Ino: st.Ino}
	if hash {
		h := sha256.New()
		if _, err := io.Copy(h, io.LimitReader(f, maxExecutable)); err != nil {
			return nil, err
		}
		e.SHA256 = hex.EncodeToString(h.Sum(nil))
	}
	return []hooks.Executable{e}, nil
}

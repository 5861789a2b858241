package executable

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// maxSize bounds the file whose content a rule asks for, in bytes.
const maxSize = 1 << 30

// Finder returns what says which files the executables of rules are. A pen shows
// the host's files under their own names and inodes, so the host's view is the
// pen's; where a pen shows nothing at a path, nobody in it runs that file. With
// hash it reads their content, too.
func Finder(hash bool) policy.Finder { return ReadMounts().Finder(hash) }

// Finder is the package's Finder with mounts that were read before, for a
// process that can't read them any more.
func (m Mounts) Finder(hash bool) policy.Finder {
	return func(path string) ([]hooks.Executable, error) {
		sum, dev, ino, err := m.look(path, hash)
		if err != nil {
			return nil, err
		}
		var out []hooks.Executable
		for _, d := range dev {
			out = append(out, hooks.Executable{Path: path, Dev: d, Ino: ino, SHA256: sum})
		}
		return out, nil
	}
}

func (m Mounts) look(path string, hash bool) (sum string, dev []uint64, ino uint64, err error) {
	fi, err := os.Stat(path)
	if err == nil {
		err = fit(fi)
	}
	if err != nil {
		return "", nil, 0, err
	}
	// What is described is what is read: the file may be replaced meanwhile.
	f, err := open(path)
	if errors.Is(err, os.ErrPermission) && !hash {
		dev, ino, err = m.identity(path, nil)
		return "", dev, ino, err
	}
	if err != nil {
		return "", nil, 0, err
	}
	defer f.Close()
	if fi, err = f.Stat(); err == nil {
		err = fit(fi)
	}
	if err != nil {
		return "", nil, 0, err
	}
	if dev, ino, err = m.identity(path, f); err != nil {
		return "", nil, 0, err
	}
	var head [2]byte
	n, err := io.ReadFull(f, head[:])
	switch {
	case err == nil && string(head[:]) == "#!":
		return "", nil, 0, errors.New("it is a script: the process that runs it is its interpreter")
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", nil, 0, err
	case !hash:
		return "", dev, ino, nil
	}
	h := sha256.New()
	h.Write(head[:n])
	more, err := io.Copy(h, io.LimitReader(f, maxSize))
	if err != nil {
		return "", nil, 0, fmt.Errorf("read it: %w", err)
	}
	if more == maxSize {
		return "", nil, 0, fmt.Errorf("it has more than %d bytes", maxSize)
	}
	return hex.EncodeToString(h.Sum(nil)), dev, ino, nil
}

// fit says whether a file can be executed at all.
func fit(fi os.FileInfo) error {
	switch {
	case !fi.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case fi.Mode()&0o111 == 0:
		return errors.New("it is not executable")
	}
	return nil
}

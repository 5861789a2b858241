package config

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

// maxExecutable bounds the file whose content a rule asks for, in bytes.
const maxExecutable = 1 << 30

// Executables returns what says which files the executables of rules are. A pen
// shows the host's files under their own names and inodes, so the host's view is
// the pen's; where a pen shows nothing at a path, nobody in it runs that file.
// With hash it reads their content, too.
func Executables(hash bool) policy.Finder {
	return func(path string) ([]hooks.Executable, error) {
		x, err := executable(path, hash)
		if err != nil {
			return nil, err
		}
		return []hooks.Executable{x}, nil
	}
}

func executable(path string, hash bool) (hooks.Executable, error) {
	x := hooks.Executable{Path: path}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return x, err
	case !fi.Mode().IsRegular():
		return x, errors.New("it is not a regular file")
	case fi.Mode()&0o111 == 0:
		return x, errors.New("it is not executable")
	}
	// What is described is what is read: the file may be replaced meanwhile.
	f, err := openExecutable(path)
	if errors.Is(err, os.ErrPermission) && !hash {
		x.Dev, x.Ino = identity(fi)
		return x, nil
	}
	if err != nil {
		return x, err
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil {
		return x, err
	}
	if !fi.Mode().IsRegular() {
		return x, errors.New("it is not a regular file")
	}
	x.Dev, x.Ino = identity(fi)
	var head [2]byte
	if n, err := io.ReadFull(f, head[:]); err == nil && string(head[:]) == "#!" {
		return x, errors.New("it is a script: the process that runs it is its interpreter")
	} else if err != nil && n == 0 && !errors.Is(err, io.EOF) {
		return x, err
	}
	if !hash {
		return x, nil
	}
	sum := sha256.New()
	sum.Write(head[:min(int64(len(head)), fi.Size())])
	n, err := io.Copy(sum, io.LimitReader(f, maxExecutable))
	if err != nil {
		return x, fmt.Errorf("read it: %w", err)
	}
	if n == maxExecutable {
		return x, fmt.Errorf("it has more than %d bytes", maxExecutable)
	}
	x.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return x, nil
}

package policy

import (
	"errors"
	"fmt"
	"io/fs"
)

// ReadSystem reads the administrator's file for a process that binds others by
// it: nil without error if there is none. It refuses a file that others than
// root could have written or replaced; readPolicy, that serves one user, is
// content with what that user owns.
func ReadSystem(path string) ([]byte, error) {
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	taken, _, err := checkSystem(path, f)
	if err == nil {
		err = (&ErrorList{taken}).err()
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	b, err := readBounded(f, MaxFileSize)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// CheckSystem says what keeps a file from being the administrator's: what
// ReadSystem refuses, and what keeps users from reading it. It is empty for a
// file that does its work.
func CheckSystem(path string) ([]*Error, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	taken, unread, err := checkSystem(path, f)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return append(taken, unread...), nil
}

package policy

import "fmt"

// CheckSystem says what keeps a file from being the administrator's: that
// others than root could write or replace it, or that users can't read it. It is
// empty for a file that does its work.
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

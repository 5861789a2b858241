package cgroup

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// marks are the extended attributes by which a tree's topmost group is known as
// ours. The first needs CAP_SYS_ADMIN, the second a kernel from 5.7.
var marks = []string{"trusted.penstock", "user.penstock"}

// mark writes whose a topmost group is.
func mark(top string) (err error) {
	value := []byte(fmt.Sprintf("%s%d %s", markPrefix, os.Getpid(), startTime(os.Getpid())))
	done := false
	for _, name := range marks {
		// All that work: a daemon that gives up its privileges later can read only
		// the second then.
		if serr := unix.Setxattr(top, name, value, 0); serr == nil {
			done = true
		} else {
			err = serr
		}
	}
	if done {
		return nil
	}
	return err
}

// marked reads it.
func marked(top string) (pid int, started string, ok bool) {
	value := make([]byte, 128)
	for _, name := range marks {
		n, err := unix.Getxattr(top, name, value)
		if err != nil {
			continue
		}
		rest, ok := strings.CutPrefix(string(value[:n]), markPrefix)
		number, started, two := strings.Cut(rest, " ")
		if pid, err := strconv.Atoi(number); ok && two && err == nil && pid > 0 && started != "" {
			return pid, started, true
		}
	}
	return 0, "", false
}

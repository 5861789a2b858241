package proxyrole

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// confineSelf is done before the role's main: the supervisor has started it under a
// profile (darwin.ProxyProfile). What it can lose beside that are files that a crash
// would leave of its memory.
func confineSelf() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("confine the proxy: leave no core file: %w", err)
	}
	return nil
}

// serveBoss says that no privileged supervisor has started the role: there is none here.
func serveBoss(map[string]*os.File) (started bool, err error) { return false, nil }

// hookProcesses refuses: there is no cage for them here.
func hookProcesses(*os.File) (startHook, io.Closer, error) {
	return nil, nil, errors.New("hooks that are processes need Linux")
}

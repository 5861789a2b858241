//go:build unix

package packet

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// grant is the control message that carries files, nil for none. They have to be kept
// open until it is sent.
func grant(files []*os.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	fds := make([]int, len(files))
	for i, f := range files {
		// Fd would make the file blocking for every process that shares it.
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return nil, fmt.Errorf("send message: %w", err)
		}
	}
	return unix.UnixRights(fds...), nil
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive message: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of control message
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd) // ReadMsgUnix asks for MSG_CMSG_CLOEXEC as well
			files = append(files, unpolled(fd))
		}
	}
	return files, nil
}

// unpolled wraps fd without giving it to the runtime poller, which decides by
// O_NONBLOCK: a pen's listener in it would wake this process for each connection.
func unpolled(fd int) *os.File {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		return os.NewFile(uintptr(fd), "received")
	}
	unix.SetNonblock(fd, false) //nolint:errcheck // then it is polled
	f := os.NewFile(uintptr(fd), "received")
	unix.SetNonblock(fd, true) //nolint:errcheck // as it came
	return f
}

// CloseAll closes files that nobody asked for.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

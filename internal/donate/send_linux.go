package donate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// MaxFiles bounds the files that go with one configuration over a socket; the
// kernel's own bound is 253 descriptors (SCM_MAX_FD).
const MaxFiles = 64

// Send hands a role that runs already its configuration and files over c, a
// seqpacket socket, whose other end calls Accept. files stay the caller's.
func Send(c *net.UnixConn, config any, files map[string]*os.File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("send role configuration: %d files, more than %d", len(files), MaxFiles)
	}
	all, err := Files(config, files)
	if err != nil {
		return err
	}
	defer all[0].Close()
	fds := make([]int, len(all))
	for i, f := range all {
		// Fd would make the file blocking for every process that shares it.
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return fmt.Errorf("send role configuration: %w", err)
		}
	}
	_, _, err = c.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil)
	runtime.KeepAlive(all)
	if err != nil {
		return fmt.Errorf("send role configuration: %w", err)
	}
	return nil
}

// Accept receives what the other end sends with Send. The sender may be hostile:
// the configuration must be a memory file that nobody can change any more, so
// that reading it neither waits for anybody nor sees two contents. The files are
// close-on-exec, and the caller's. io.EOF means that the other end is gone.
func Accept(c *net.UnixConn, config any) (map[string]*os.File, error) {
	buf := make([]byte, 2)
	oob := make([]byte, unix.CmsgSpace((MaxFiles+1)*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if errors.Is(err, unix.ECONNRESET) || err == nil && n == 0 && oobn == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("receive role configuration: %w", err)
	}
	var got []*os.File
	fail := func(err error) (map[string]*os.File, error) {
		for _, f := range got {
			f.Close()
		}
		return nil, fmt.Errorf("receive role configuration: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fail(err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of control message
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			got = append(got, os.NewFile(uintptr(fd), "received"))
		}
	}
	if n != 1 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(got) == 0 {
		return fail(errors.New("malformed message"))
	}
	env, err := readSealed(got[0])
	if err != nil {
		return fail(err)
	}
	if len(env.Names) != len(got)-1 {
		return fail(fmt.Errorf("%d names for %d files", len(env.Names), len(got)-1))
	}
	files := make(map[string]*os.File, len(env.Names))
	for i, name := range env.Names {
		if files[name] != nil {
			return fail(errors.New("a name twice"))
		}
		files[name] = got[i+1]
	}
	if err := json.Unmarshal(env.Config, config); err != nil {
		return fail(err)
	}
	got[0].Close()
	return files, nil
}

// readSealed reads the envelope from a memory file that can't be changed.
func readSealed(f *os.File) (*envelope, error) {
	const all = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&all != all {
		return nil, errors.New("the configuration is not a sealed memory file")
	}
	// Its position is the sender's too.
	doc, err := io.ReadAll(io.NewSectionReader(f, 0, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(doc) > maxConfig {
		return nil, fmt.Errorf("the configuration has more than %d bytes", maxConfig)
	}
	var env envelope
	if err := json.Unmarshal(doc, &env); err != nil {
		return nil, err
	}
	return &env, nil
}

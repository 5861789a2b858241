package janitor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/layout"
	"github.com/penstock/penstock/sandbox/procs"
)

// Main is the role's main; it returns the exit code.
func Main() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	var cfg roleConfig
	files, err := donate.Receive(&cfg)
	if err != nil || files[fileAlive] == nil || files[fileSupervisor] == nil || files[filePIDFD] == nil {
		fmt.Fprintf(os.Stderr, "penstock: start the janitor: %v\n", err)
		return 1
	}
	if err := mind(files, &cfg); err != nil {
		return 1
	}
	return 0
}

// mind does the role's work.
func mind(files map[string]*os.File, cfg *roleConfig) error {
	defer runtime.KeepAlive(files) // what follows knows them by number
	first := make(chan int, 1)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		pidfd := guard(int(files[fileSupervisor].Fd()), cfg.Group)
		if cfg.Within != 0 {
			procs.KillWithin(cfg.Within) //nolint:errcheck // there is nobody to tell
		}
		first <- pidfd
	}()
	err := tidy(files[fileAlive], int(files[filePIDFD].Fd()), first)
	<-swept
	return err
}

// guard waits for the supervisor's end, however it comes, kills the pen's process
// group and returns the pidfd of the first process inside the pen, -1 if the
// supervisor had not named it. The pen's first process outside dies of the supervisor's
// end by itself; but the one inside, if it has not asked yet to die with its
// parent, would wait for ever, with the pen's namespaces. What is in the pen is
// in other groups and dies with the latter.
func guard(supervisor, group int) int {
	first := -1
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, on, _, _, err := unix.Recvmsg(supervisor, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			break // it ends with its only holder
		}
		messages, err := unix.ParseSocketControlMessage(oob[:on])
		if err != nil || len(messages) != 1 {
			continue
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			first = fds[0]
		}
	}
	if group > 1 {
		syscall.Kill(-group, syscall.SIGKILL) //nolint:errcheck // mostly there is nobody left
	}
	return first
}

// tidy waits for the end of r and of the supervisor, whose pidfd is given, and
// removes the placeholders that r's first message names, once the process that
// first yields has ended.
func tidy(r io.Reader, supervisor int, first <-chan int) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil // none were planned
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxOrders {
		return errors.New("message too long")
	}
	doc := make([]byte, n)
	_, err := io.ReadFull(r, doc)
	io.Copy(io.Discard, r) //nolint:errcheck // it ends with its last holder
	var o Orders
	if err == nil {
		err = json.Unmarshal(doc, &o)
	}
	if err != nil {
		return err
	}
	if o.Group != "" {
		defer cgroup.Remove(o.Group) //nolint:errcheck // the next session sweeps
	}
	// A process that is killed closes its descriptors one by one: until it is
	// dead it may still hold the locks that say that a placeholder is in use.
	ready(supervisor, unix.POLLIN, unix.POLLIN, time.Now().Add(time.Hour))
	// So does the pen's first process: the others in it are killed in the course
	// of its end, and until then the placeholders protect the host from them.
	if fd := <-first; fd >= 0 {
		ready(fd, unix.POLLIN, unix.POLLIN, time.Now().Add(time.Hour))
	}
	return layout.Adopt(o.Placeholders).Release()
}

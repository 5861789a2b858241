package janitor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/layout"
)

// Main is the role's main; it returns the exit code.
func Main() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	files, err := donate.Receive(&struct{}{})
	if err != nil || files[fileAlive] == nil || files[fileSupervisor] == nil || files[filePIDFD] == nil {
		fmt.Fprintf(os.Stderr, "penstock: start the janitor: %v\n", err)
		return 1
	}
	go guard(files[fileSupervisor])
	if err := tidy(files[fileAlive], int(files[filePIDFD].Fd())); err != nil {
		return 1
	}
	return 0
}

// guard waits for the supervisor's end, however it comes, and kills the process
// group it was told of. The pen's first process outside dies of the supervisor's
// end by itself; but the one inside, if it has not asked yet to die with its
// parent, would wait for ever, with the pen's namespaces. What is in the pen is
// in other groups and dies with the latter.
func guard(r io.Reader) {
	var group [4]byte
	if _, err := io.ReadFull(r, group[:]); err != nil {
		return // no pen yet
	}
	io.Copy(io.Discard, r) //nolint:errcheck // it ends with its only holder
	if n := int(binary.BigEndian.Uint32(group[:])); n > 1 {
		syscall.Kill(-n, syscall.SIGKILL) //nolint:errcheck // mostly there is nobody left
	}
}

// tidy waits for the end of r and of the supervisor, whose pidfd is given, and
// removes the placeholders that its first message names.
func tidy(r io.Reader, supervisor int) error {
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
	var there []sandbox.Placeholder
	var held []*os.File
	for _, p := range o.Placeholders {
		f, err := os.OpenFile(p.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // never made, or removed already
		}
		there, held = append(there, p), append(held, f)
	}
	return layout.Adopt(there, held).Release()
}

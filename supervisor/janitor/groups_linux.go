package janitor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox/cgroup"
	"github.com/penstock/penstock/sandbox/confine"
)

// GroupsRole is os.Args[1] of the role that removes the privileged supervisor's
// topmost control groups after its end, for which that has not kept the privilege.
const GroupsRole = "role:groups"

// groupsConfig is what that role is told.
type groupsConfig struct {
	Tops []cgroup.Top `json:"tops"`
}

// StartGroups starts program as that role, which ends by itself after the caller's
// end. It is called as root, before the caller gives up its privileges. The process
// that it returns need not be waited for.
func StartGroups(program string, tops []cgroup.Top) (*os.Process, error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("start the janitor: open the own process: %w", err)
	}
	pidfd := os.NewFile(uintptr(self), filePIDFD)
	defer pidfd.Close()
	extra, err := donate.Files(&groupsConfig{tops}, map[string]*os.File{filePIDFD: pidfd})
	if err != nil {
		return nil, err
	}
	defer extra[0].Close()
	cmd := exec.Command(program, GroupsRole)
	cmd.Args[0] = "penstock"
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"}
	cmd.Dir = "/"
	cmd.ExtraFiles = extra
	// No parent-death signal, and a session of its own: it is there for when
	// everything else has been killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	return cmd.Process, nil
}

// groupsPatience is how long the pens of a supervisor that was killed may take to
// follow it. Mostly they are gone before it is.
const groupsPatience = 10 * time.Second

// GroupsMain is that role's main; it returns the exit code.
func GroupsMain() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	var cfg groupsConfig
	files, err := donate.Receive(&cfg)
	if err == nil && files[filePIDFD] == nil {
		err = errors.New("no descriptor of the supervisor")
	}
	if err == nil {
		var dirs []string
		for _, top := range cfg.Tops {
			dirs = append(dirs, filepath.Dir(top.Dir))
		}
		err = confine.Janitor(dirs)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "penstock: start the janitor: %v\n", err)
		return 1
	}
	defer runtime.KeepAlive(files) // what follows knows it by number
	pidfd := int(files[filePIDFD].Fd())
	for !ready(pidfd, unix.POLLIN, unix.POLLIN, time.Now().Add(24*time.Hour)) {
	}
	if cgroup.Abandoned(cfg.Tops, groupsPatience) != nil {
		return 1 // the next supervisor sweeps
	}
	return 0
}

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/lisafs"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/fsgofer"
	"gvisor.dev/gvisor/runsc/fsgofer/filter"
)

// Descriptors of the sentry and of the gofer, beside standard error.
const (
	fdGofer  = 3 // the conversation between the two
	fdStatus = 4 // where the sentry says how it went
	fdStdio  = 5 // and the two after it: the command's streams
	fdTrace  = 8 // the journal, if there is one
)

// gofer serves files below os.Args[2] until the sentry ends. It returns an error only.
func gofer() error {
	if len(os.Args) != 3 {
		return errors.New("start the gofer: no root")
	}
	log.SetLevel(log.Warning)
	// Modes are the sentry's business.
	unix.Umask(0)
	if err := fsgofer.OpenProcSelfFD("/proc/self/fd"); err != nil {
		return err
	}
	sock, err := unet.NewSocket(fdGofer)
	if err != nil {
		return fmt.Errorf("start the gofer: %w", err)
	}
	// What the filter refuses comes before it.
	rules := &fsgofer.Config{
		HostUDS: config.HostUDSNone, HostFifo: config.HostFifoNone, DonateMountPointFD: true,
		RUID: unix.Getuid(), EUID: unix.Geteuid(), RGID: unix.Getgid(), EGID: unix.Getegid(),
	}
	if err := filter.Install(filter.Options{DirectFS: true}); err != nil {
		return fmt.Errorf("restrict the gofer: %w", err)
	}
	server := lisafs.NewServer()
	conn, err := server.CreateConnection(sock, os.Args[2], fsgofer.ConnectionOpts(false), fsgofer.NewConnectionImpl(rules))
	if err != nil {
		return fmt.Errorf("start the gofer: %w", err)
	}
	server.StartConnection(conn)
	server.Wait()
	os.Exit(0)
	return nil
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// try boots a machine whose root is the directory that it boots from, and ends it when
// it says that it is up. It returns the exit code.
func try(m *machine) int {
	m.root = m.image
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	v, err := start(m)
	if err != nil {
		return broken(err)
	}
	defer v.close()
	s := &session{conn: wire.NewConn(v.port)}
	if _, err := s.await(m, v, signals); err != nil {
		return broken(err)
	}
	return 0
}

// errSignal is that somebody ended this process before there was a command.
var errSignal = errors.New("interrupted")

// await waits for the guest's first word. What would end a command ends the waiting: then
// code is the exit code.
func (s *session) await(m *machine, v *vm, signals <-chan os.Signal) (code int, err error) {
	deadline := time.NewTimer(m.start)
	defer deadline.Stop()
	up := make(chan error, 1)
	go s.hello(up)
	for {
		select {
		case err := <-up:
			if err != nil {
				return 0, v.ended(fmt.Errorf("the machine does not speak: %w", err))
			}
			return 0, nil
		case <-v.done:
			return 0, fmt.Errorf("the machine did not start: %w", v.why())
		case <-deadline.C:
			return 0, fmt.Errorf("the machine did not start within %s: %w", m.start, v.why())
		case sig := <-signals:
			switch n := sig.(syscall.Signal); n {
			case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT:
				return 128 + int(n), errSignal
			}
		}
	}
}

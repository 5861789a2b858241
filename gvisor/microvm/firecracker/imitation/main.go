// Command imitation stands in for Firecracker and its jailer in tests, on machines that
// can run neither. It is a process that listens at a unix socket, holds callers to the
// published description of the API (api.json says which) and to the order of a machine's
// states, makes the vsock device's socket when the machine is started, and says as the
// guest that it is up. It is no virtual machine: nothing of the kernel is executed.
//
// Its file name says what it is ("jailer", "firecracker") and what goes wrong with it: of
// "firecracker-deaf" the part behind the hyphen, see trouble.
//
// # Hazards
//
// That it agrees with the client and not with Firecracker. So what it holds callers to is
// in a file of its own, written from Firecracker's, and knows nothing of the client's
// types. It is for tests and part of no program that is installed.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// trouble is what goes wrong, by the file's name.
type trouble string

const (
	none    trouble = ""
	deaf    trouble = "deaf"    // makes no socket
	dies    trouble = "dies"    // ends at once, with a word of why
	garbage trouble = "garbage" // answers what is no answer
	endless trouble = "endless" // answers without an end
	silent  trouble = "silent"  // takes a call and never answers
	old     trouble = "old"     // is of a version that is too old
	other   trouble = "other"   // has another id
	refuses trouble = "refuses" // starts no machine
	panics  trouble = "panics"  // ends when the machine was started, as its kernel panics
	hangs   trouble = "hangs"   // its machine stops while it boots
	late    trouble = "late"    // its guest listens at the third attempt
	rude    trouble = "rude"    // its vsock device speaks something else
	mute    trouble = "mute"    // its guest takes a connection and says nothing
	wrong   trouble = "wrong"   // its guest says what is no frame
)

func main() {
	name := filepath.Base(os.Args[0])
	var err error
	if name == "jailer" {
		err = jail(os.Args[1:])
	} else {
		_, what, _ := strings.Cut(name, "-")
		err = run(trouble(what), os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// options reads "--name value", "--name=value" and, behind "--", what is for another.
func options(args []string, known ...string) (map[string]string, []string, error) {
	out := map[string]string{}
	for len(args) > 0 {
		if args[0] == "--" {
			return out, args[1:], nil
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(args[0], "--"), "=")
		args = args[1:]
		if !ok {
			if len(args) == 0 {
				return nil, nil, fmt.Errorf("the argument %q needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if _, twice := out[name]; !found || twice {
			return nil, nil, fmt.Errorf("found argument %q which wasn't expected, or isn't valid in this context", name)
		}
		out[name] = value
	}
	return out, nil, nil
}

// run is Firecracker.
func run(t trouble, args []string) error {
	o, _, err := options(args, "id", "api-sock", "start-time-us", "start-time-cpu-us", "parent-cpu-time-us")
	if err != nil {
		return err
	}
	switch {
	case len(os.Environ()) != 0:
		return fmt.Errorf("an environment: %q", os.Environ())
	case t == dies:
		return fmt.Errorf("\x1b[2Jno KVM: %v", syscall.EACCES)
	case t == deaf:
		return forever()
	}
	// In a jail this is the one that the jailer made, whether there is KVM or not.
	if f, err := os.OpenFile(kvm, os.O_RDWR, 0); err == nil {
		f.Close()
	} else if jailed := o["start-time-us"] != ""; jailed && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return fmt.Errorf("error creating the Kvm object: %w", err)
	}
	l, err := net.Listen("unix", o["api-sock"])
	if err != nil {
		return fmt.Errorf("bind to %s: %w", o["api-sock"], err)
	}
	m := &machine{trouble: t, id: o["id"]}
	return m.serve(l)
}

// forever waits for a signal that ends it.
func forever() error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
	return nil
}

// Command penstock-microvm runs a command in a virtual machine, without any privilege,
// in a pen that is built already. It is the command of a pen of the tier microvm, and,
// as the first process of the machine, its init.
//
// In the pen it is one process beside QEMU's: it makes the machine's network (package
// stack), passes on the command's streams, signals and exit code (package wire), and
// ends QEMU when the command has ended. Outside of the pen it makes the image that a
// machine boots (package image), before there is a machine, and tries whether one boots: in
// QEMU, or in Firecracker (package firecracker), in which no command runs yet.
//
// # Hazards
//
// The command is hostile, and the machine's kernel with it once a bug of it is used, and
// QEMU with them after a bug of QEMU's. Then they are processes of the pen like any
// command of the tier bwrap. What the machine says over its link and its serial port is
// parsed here, in the same pen; what it says in words is escaped by whoever prints it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/penstock/penstock/gvisor/microvm/guest"
	"github.com/penstock/penstock/gvisor/microvm/image"
)

// exitBroken is the exit code of what is not the command's own end.
const exitBroken = 125

// The processes, by the first argument.
const (
	roleRun   = "run"
	roleTry   = "try"
	roleImage = "image"
)

// version is set by the linker.
var version = "unknown"

func main() {
	if os.Args[0] == guest.Stage {
		guest.BecomeCommand()
		return
	}
	if os.Getpid() == 1 && len(os.Args) == 1 {
		guest.Main()
		return
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		return broken(errors.New("no role: this program is started by penstock run --sandbox microvm"))
	}
	switch args[0] {
	case roleRun, roleTry:
		m, err := parse(args[1:])
		switch {
		case err != nil:
			return broken(err)
		case args[0] == roleTry && m.fire != "":
			return trial(m)
		case args[0] == roleTry:
			return try(m)
		case m.fire != "":
			return broken(errors.New("no command runs in a machine of Firecracker's"))
		case m.root == "" || len(m.argv) == 0:
			return broken(errors.New("no root or no command"))
		}
		return begin(m)
	case roleImage:
		if len(args) != 4 {
			return broken(errors.New("usage: image DIRECTORY KERNEL MODULES"))
		}
		if err := image.Make(args[1], args[2], args[3], "/proc/self/exe"); err != nil {
			return broken(err)
		}
		return 0
	case "version":
		fmt.Println("penstock-microvm", version)
		return 0
	}
	return broken(fmt.Errorf("unknown role %q", args[0]))
}

func broken(err error) int {
	fmt.Fprintf(os.Stderr, "penstock: tier microvm: %v\n", err)
	return exitBroken
}

// machine is what the command sees, and what it runs on.
type machine struct {
	qemu    string // path of the program
	fire    string // Firecracker's, for a trial of it in QEMU's place
	jailer  string // its jailer's; "": it runs as this user
	image   string // directory with what it boots
	root    string // directory that is the command's root
	accel   string // tcg or kvm
	memory  int64  // bytes
	pids    int64  // of the command; 0: no limit
	start   time.Duration
	filter  string // file with a seccomp program for the command
	tmpfs   tmpfs
	relay   ports
	dir     string // working directory, in the root
	uid     int
	gid     int
	host    string // host name
	streams bool   // one is the pen's terminal
	argv    []string
}

func parse(args []string) (*machine, error) {
	m := &machine{}
	f := flag.NewFlagSet("penstock-microvm", flag.ContinueOnError)
	f.StringVar(&m.qemu, "qemu", "", "QEMU's path")
	f.StringVar(&m.fire, "firecracker", "", "Firecracker's path, in place of QEMU's, to try only")
	f.StringVar(&m.jailer, "jailer", "", "path of Firecracker's jailer")
	f.StringVar(&m.image, "image", "", "directory with what it boots")
	f.StringVar(&m.root, "root", "", "directory that is the command's root")
	f.StringVar(&m.accel, "accel", "tcg", "tcg or kvm")
	f.Int64Var(&m.memory, "memory", 1<<30, "bytes of the machine's memory")
	f.Int64Var(&m.pids, "pids", 0, "limit of the command's processes")
	f.DurationVar(&m.start, "start", time.Minute, "how long the machine may take to start")
	f.StringVar(&m.filter, "filter", "", "file with a seccomp program for the command")
	f.Var(&m.tmpfs, "tmpfs", "MODE:SIZE:PATH of memory of the machine's own, many times")
	f.Var(&m.relay, "relay", "port of the pen's loopback interface, many times")
	f.StringVar(&m.dir, "dir", "/", "working directory, in the root")
	f.IntVar(&m.uid, "uid", 0, "user")
	f.IntVar(&m.gid, "gid", 0, "group")
	f.StringVar(&m.host, "hostname", "pen", "host name")
	f.BoolVar(&m.streams, "terminal", false, "a stream is the pen's terminal")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	m.argv = f.Args()
	if (m.qemu == "") == (m.fire == "") || m.image == "" {
		return nil, errors.New("no QEMU or no image")
	}
	if m.fire == "" && m.jailer != "" {
		return nil, errors.New("a jailer without Firecracker")
	}
	return m, nil
}

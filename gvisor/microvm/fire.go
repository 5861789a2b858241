package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/penstock/penstock/gvisor/microvm/firecracker"
	"github.com/penstock/penstock/gvisor/microvm/guest"
	"github.com/penstock/penstock/gvisor/microvm/image"
	"github.com/penstock/penstock/gvisor/microvm/wire"
)

// nobody is whom a jail's Firecracker runs as: it has a trial's machine, and no file of
// anybody's.
const nobody = 65534

// guestCID is the guest's number at its vsock device: the first that is nobody's.
const guestCID = 3

// oldest is the first version of Firecracker whose devices a distribution's kernel finds:
// it describes them by ACPI.
func oldest() [2]int { return [2]int{1, 8} }

// trial boots a machine of Firecracker's with the kernel and the initial file system of
// every machine, and ends it when the guest says over vsock that it is up. It has no file,
// network or command. It returns the exit code, and says on stdout what was tried.
func trial(m *machine) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	said, err := ignite(ctx, m)
	if err != nil {
		return broken(err)
	}
	fmt.Println(said)
	return 0
}

// errLate is that the deadline of the start has passed.
var errLate = errors.New("the deadline has passed")

// ignite boots the machine and ends it. It returns what booted.
func ignite(ctx context.Context, m *machine) (said string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.start, errLate)
	defer cancel()
	f, err := kindle(m)
	if err != nil {
		return "", err
	}
	defer func() {
		if left := f.close(); err == nil {
			err = left
		}
	}()
	// What is waited for does not come any more when the process has ended.
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	go func() {
		select {
		case <-f.done:
			ended(errEnded)
		case <-ctx.Done():
		}
	}()
	version, err := f.boot(ctx, m)
	switch {
	case err == nil:
		how := "as this user, without its jailer"
		if f.jail != nil {
			how = "in its jailer's jail"
		}
		return fmt.Sprintf("Firecracker %s booted a machine, %s", strconv.Quote(version), how), nil
	case errors.Is(err, errEnded):
		<-f.done
		return "", fmt.Errorf("the machine did not start: %w", f.why())
	case errors.Is(err, errLate):
		return "", fmt.Errorf("the machine did not start within %s: %w; %w", m.start, err, f.why())
	case errors.Is(err, context.Canceled):
		return "", errSignal
	}
	if refusal := (*firecracker.Error)(nil); errors.As(err, &refusal) || errors.Is(err, errUnfit) {
		return "", fmt.Errorf("the machine did not start: %w", err)
	}
	return "", f.ended(err)
}

// errEnded is that Firecracker has ended by itself.
var errEnded = errors.New("it ended")

// errUnfit is that a Firecracker answers with which nothing is begun.
var errUnfit = errors.New("no machine is asked of it")

// fire is Firecracker, running.
type fire struct {
	*vm
	id    string
	dir   string            // made for it, and removed with it
	jail  *firecracker.Jail // nil: there is none
	place firecracker.Place
}

// kindle starts Firecracker, in a jail where there is a jailer.
func kindle(m *machine) (f *fire, err error) {
	f = &fire{vm: &vm{name: "Firecracker", done: make(chan struct{})}, id: "penstock-" + rand.Text()[:12]}
	above := os.TempDir()
	if m.jailer != "" {
		if above, err = firecracker.Ground(os.TempDir(), "/var/tmp", "/srv"); err != nil {
			return nil, err
		}
	}
	if f.dir, err = os.MkdirTemp(above, "penstock-fire-"); err != nil {
		return nil, fmt.Errorf("make Firecracker's directory: %w", err)
	}
	dir := f.dir
	defer func() {
		if err != nil {
			os.RemoveAll(dir) //nolint:errcheck // the first error counts
		}
	}()
	kernel, initial := filepath.Join(m.image, image.Kernel), filepath.Join(m.image, image.Initial)
	program, err := filepath.EvalSymlinks(m.fire)
	if err != nil {
		return nil, fmt.Errorf("find Firecracker: %w", err)
	}
	var command []string
	if m.jailer == "" {
		f.place = firecracker.Place{
			Socket: filepath.Join(f.dir, "api.sock"), Kernel: kernel, Initial: initial,
			Vsock: filepath.Join(f.dir, "vsock.sock"), Stream: filepath.Join(f.dir, "vsock.sock"),
		}
		command = []string{program, "--id", f.id, "--api-sock", f.place.Socket}
	} else {
		f.jail = &firecracker.Jail{Jailer: m.jailer, Firecracker: program, Base: f.dir, ID: f.id, UID: nobody, GID: nobody}
		if err := f.jail.Make(kernel, initial); err != nil {
			return nil, err
		}
		f.place, command = f.jail.Place(), f.jail.Command()
	}
	f.cmd = exec.Command(command[0], command[1:]...)
	f.cmd.Dir = f.dir
	f.cmd.Env = []string{}
	f.cmd.Stdout, f.cmd.Stderr = &f.console, &f.errors
	// In a jail it outlives this process, as the kernel forgets this signal where a process
	// becomes another user's; then the guest ends it, when nobody speaks to it.
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Firecracker: %w", err)
	}
	go f.wait()
	return f, nil
}

// boot has the machine start, and returns when the guest has said that it is up.
func (f *fire) boot(ctx context.Context, m *machine) (version string, err error) {
	api, err := firecracker.New(f.place.Socket)
	if err != nil {
		return "", err
	}
	i, err := api.Ready(ctx)
	if err != nil {
		return "", err
	}
	if i.ID != f.id || i.State != firecracker.NotStarted {
		return "", fmt.Errorf("another Firecracker answers: id %q, %q: %w", i.ID, i.State, errUnfit)
	}
	if err := newEnough(i.Version); err != nil {
		return "", err
	}
	for _, step := range []func() error{
		func() error { return api.Machine(ctx, firecracker.Machine{VCPUs: 1, Memory: m.memory >> 20}) },
		func() error {
			return api.Boot(ctx, firecracker.Boot{Kernel: f.place.Kernel, Initial: f.place.Initial, Arguments: bootArguments()})
		},
		func() error { return api.Vsock(ctx, firecracker.Vsock{CID: guestCID, Path: f.place.Vsock}) },
		func() error { return api.Start(ctx) },
	} {
		if err := step(); err != nil {
			return "", err
		}
	}
	conn, err := firecracker.Connect(ctx, f.place.Stream, guest.VsockPort)
	if err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	up := make(chan error, 1)
	(&session{conn: wire.NewConn(conn)}).hello(up)
	if err := <-up; err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("the machine does not speak: %w", err)
	}
	return i.Version, nil
}

// bootArguments are the guest's kernel's. Firecracker takes the keyboard's reset for the
// machine's end, and has no PCI unless asked for it.
func bootArguments() string {
	return "console=ttyS0 quiet panic=-1 reboot=k pci=off random.trust_cpu=on " + guest.VsockArgument + "=" + strconv.Itoa(guest.VsockPort)
}

// newEnough says why a version of Firecracker can't boot a machine here.
func newEnough(version string) error {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d.", &major, &minor); err != nil {
		return fmt.Errorf("no version of Firecracker: %q: %w", version, errUnfit)
	}
	if o := oldest(); major < o[0] || major == o[0] && minor < o[1] {
		return fmt.Errorf("version %q of Firecracker is too old: its devices are found from %d.%d on: %w", version, o[0], o[1], errUnfit)
	}
	return nil
}

// close ends the machine, whatever it does, and removes what was made for it.
func (f *fire) close() error {
	f.end()
	if err := os.RemoveAll(f.dir); err != nil {
		return fmt.Errorf("remove Firecracker's directory: %w", err)
	}
	return nil
}

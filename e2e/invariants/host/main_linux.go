package host

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// Where a rig keeps what its sessions run, on a file system of its own.
const (
	programs = "/tmp/programs"
	// Penstock is the binary under test, Tool the test binary itself, which is
	// also what runs in the pens.
	Penstock = programs + "/penstock"
	Tool     = programs + "/tool"
)

// toolArgument makes the test binary a tool: "tool NAME ARG…".
const toolArgument = "tool"

// inside is set in the environment of the process that world runs the tests in.
const inside = "PENSTOCK_WORLD"

// Main is TestMain: it runs a tool if the arguments say so, else the tests, with
// a private internet and private temporary directories. It returns the exit
// status for os.Exit.
func Main(m *testing.M, tools map[string]func(args []string) int) int {
	if len(os.Args) > 2 && os.Args[1] == toolArgument {
		f := tools[os.Args[2]]
		if f == nil {
			fmt.Fprintf(os.Stderr, "no tool %q\n", os.Args[2])
			return 99
		}
		return f(os.Args[3:])
	}
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "host: prepare:", err)
			return 1
		}
	}
	return world.Main(m)
}

// prepare runs in the rig's namespaces before anything else of the rig.
func prepare() error {
	// Whatever a session leaves running becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper: %w", err)
	}
	// Who ran the tests by nohup, or behind a script, has not run the sessions so.
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	penstock, err := binary()
	if err != nil {
		return err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range temporary() {
		if err := unix.Mount("rig", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
			return fmt.Errorf("mount over %s: %w", dir, err)
		}
	}
	if err := os.Mkdir(programs, 0o755); err != nil {
		return err
	}
	if err := ownConfiguration(); err != nil {
		return err
	}
	for name, content := range map[string][]byte{Penstock: penstock, Tool: self} {
		if err := os.WriteFile(name, content, 0o755); err != nil {
			return err
		}
	}
	os.Setenv("TMPDIR", "/tmp")
	return os.Setenv("PENSTOCK_BIN", Penstock)
}

// ownConfiguration gives the rig an /etc that tests may write to.
func ownConfiguration() error {
	const etc = "/tmp/etc"
	// As an ordinary user not all of it can be read, nor is it needed.
	exec.Command("cp", "-a", "/etc/.", etc).Run()
	if err := os.MkdirAll(etc+"/penstock", 0o755); err != nil {
		return err
	}
	if err := unix.Mount(etc, "/etc", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount over /etc: %w", err)
	}
	return nil
}

// temporary are the directories in which programs leave files behind.
func temporary() []string { return []string{"/tmp", "/var/tmp", "/dev/shm"} }

// binary reads the penstock binary that PENSTOCK_BIN names, or builds one.
func binary() ([]byte, error) {
	if p := os.Getenv("PENSTOCK_BIN"); p != "" {
		return os.ReadFile(p)
	}
	dir, err := os.MkdirTemp("", "penstock-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "penstock")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", out, "github.com/penstock/penstock/cmd/penstock")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build penstock: %w\n%s", err, msg)
	}
	f, err := os.Open(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// ToolCommand is the command line of a tool in a pen.
func ToolCommand(name string, args ...string) []string {
	return append([]string{Tool, toolArgument, name}, args...)
}

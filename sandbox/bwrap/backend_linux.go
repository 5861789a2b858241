package bwrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
)

// Backend runs pens on one bwrap binary.
type Backend struct {
	path     string
	features features
	noTrace  bool // whatever the kernel has; for tests
}

// minLandlock is the first ABI that the shim uses; see confine.
const minLandlock = 2

var _ sandbox.Backend = (*Backend)(nil)

// New finds bwrap and returns the tier that runs on it. The binary is looked
// for in path, a list of directories; empty means the system's.
func New(path string) (*Backend, error) {
	bin, err := find(path)
	if err != nil {
		return nil, err
	}
	return &Backend{path: bin, features: features{disableUserns: true, prebuilt: haveMountSetattr()}}, nil
}

// Name returns "bwrap".
func (b *Backend) Name() string { return "bwrap" }

// Any returns true.
func (*Backend) Any() bool { return true }

// Path returns the bwrap binary's.
func (b *Backend) Path() string { return b.path }

// Prepare has nothing to add: what bwrap itself needs it makes.
func (*Backend) Prepare(*sandbox.Spec) error { return nil }

// Filter is the seccomp filter of its pens, in the form of bwrap's --seccomp. Who puts a
// process into one needs it.
func (b *Backend) Filter() ([]byte, error) {
	return confine.PenFilter(!b.noTrace && confine.LandlockABI() >= minLandlock)
}

// Command plans the program that becomes the pen; see sandbox.Backend.
func (b *Backend) Command(s *sandbox.Spec, shim, alive *os.File) (_ *sandbox.Command, err error) {
	fixed := 1 // the shim's socket
	if alive != nil {
		fixed++
	}
	p, err := arguments(s, b.features, fixed, exists)
	if err != nil {
		return nil, err
	}
	filter, err := b.Filter()
	if err != nil {
		return nil, err
	}
	if alive != nil {
		p.add("--sync-fd", strconv.Itoa(fdData+1))
	}
	cmd := &sandbox.Command{
		Path: b.path,
		Argv: []string{"bwrap", "--args", strconv.Itoa(fdArgs), "--",
			sandbox.ShimPath, sandbox.ShimRole, strconv.Itoa(fdData)},
		FirstFile: firstFile,
	}
	var args bytes.Buffer
	for _, a := range p.args {
		args.WriteString(a)
		args.WriteByte(0)
	}
	contents := append([][]byte{args.Bytes(), filter}, p.data...)
	if p.root != nil {
		doc, err := json.Marshal(p.root)
		if err != nil {
			return nil, fmt.Errorf("describe the pen's root: %w", err)
		}
		contents = append(contents, doc)
		cmd.Root = fdData + fixed
	}
	var made []*os.File
	defer func() {
		if err != nil {
			for _, f := range made {
				f.Close()
			}
		}
	}()
	for _, c := range contents {
		f, err := memory(c)
		if err != nil {
			return nil, err
		}
		made = append(made, f)
	}
	// In the order of the descriptor numbers above.
	cmd.Files = append(cmd.Files, made[0], made[1], shim)
	if alive != nil {
		cmd.Files = append(cmd.Files, alive)
	}
	cmd.Files = append(cmd.Files, made[2:]...)
	cmd.Owned = made
	return cmd, nil
}

// memory returns a descriptor to read content from, at its start.
func memory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("penstock", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "penstock-memory")
	if _, err := unix.Pwrite(fd, content, 0); err != nil && len(content) > 0 {
		f.Close()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	return f, nil
}

// haveMountSetattr says whether the kernel can restrict a tree before it is
// mounted (Linux 5.12), which the builder needs to put the root together.
func haveMountSetattr() bool {
	return unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}) != unix.ENOSYS
}

func exists(p string) bool {
	var st unix.Stat_t
	return unix.Lstat(p, &st) == nil
}

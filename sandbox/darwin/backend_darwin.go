package darwin

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// New returns the tier if sandbox-exec is there.
func New(o Options) (*Backend, error) {
	// What decides about a pen is the system's, which nobody but the system can change.
	if st, err := os.Lstat(Program); err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
		return nil, &Error{fmt.Errorf("%s is not there", Program), "use macOS with its own sandbox-exec"}
	}
	return &Backend{options: o}, nil
}

// probeTime bounds the trial run.
const probeTime = 5 * time.Second

// tried is what a probe's shell does: read and write what is granted, and fail to read
// what is beside it, to write what is protected, to move what is around that, and to
// reach a port that somebody listens at.
const tried = `cd "$1" && echo a >new && cat file/kept >/dev/null || exit 11
cat ../hidden 2>/dev/null && exit 12
(echo a >file/kept) 2>/dev/null && exit 13
mv file moved 2>/dev/null && exit 14
/usr/bin/nc -z -w 1 127.0.0.1 "$2" 2>/dev/null && exit 15
echo held`

// Probe runs a shell under a profile and looks at what was denied to it.
func (b *Backend) Probe(ctx context.Context) ([]sandbox.Capability, error) {
	dir, err := os.MkdirTemp("", "penstock-probe-")
	if err == nil {
		defer os.RemoveAll(dir)
		dir, err = filepath.EvalSymlinks(dir)
	}
	for _, d := range []string{"work", "work/file"} {
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, d), 0o700)
		}
	}
	for _, name := range []string{"hidden", "work/file/kept"} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte("x\n"), 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("tier darwin: make a directory to try in: %w", err)
	}
	work, kept := filepath.Join(dir, "work"), filepath.Join(dir, "work/file/kept")
	s := &sandbox.Spec{Mounts: append(System(), sandbox.Mount{Source: work, Target: work, Write: true}, sandbox.Mount{Source: kept, Target: kept})}
	text, err := Profile(s, b.options, layout.OS())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	f, err := donate.Fixed([]byte(text))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("tier darwin: listen for the trial: %w", err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("tier darwin: listen for the trial: %w", err)
	}
	cmd := exec.CommandContext(ctx, Program, "-f", "/dev/fd/3", "/bin/sh", "-c", tried, "sh", work, port)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || strings.TrimSpace(out.String()) != "held" {
		said, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		return nil, &Error{fmt.Errorf("try a profile: %v, %q", err, said), "use a version of macOS that this profile was made for"}
	}
	return b.Capabilities(0), nil
}

//go:build unix

package darwin

import (
	"os"
	"os/exec"
	"strconv"

	"github.com/penstock/penstock/internal/donate"
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/layout"
)

// profileFD is where sandbox-exec finds the profile; the shim's socket is before it,
// what keeps the pen alive behind.
const (
	shimFD    = 3
	profileFD = 4
)

// Command plans the program that becomes the pen; see sandbox.Backend.
func (b *Backend) Command(s *sandbox.Spec, shim, alive *os.File) (*sandbox.Command, error) {
	text, err := Profile(s, b.options, layout.OS())
	if err != nil {
		return nil, err
	}
	f, err := donate.Fixed([]byte(text))
	if err != nil {
		return nil, err
	}
	cmd := &sandbox.Command{
		Path: Program,
		Argv: []string{"sandbox-exec", "-f", "/dev/fd/" + strconv.Itoa(profileFD),
			s.Penstock, sandbox.ShimRole, strconv.Itoa(shimFD)},
		Env:   []string{"PATH=/usr/bin:/bin"}, // the command's own comes with the shim's orders
		Files: []*os.File{shim, f}, FirstFile: shimFD, Owned: []*os.File{f},
	}
	if alive != nil {
		cmd.Files = append(cmd.Files, alive)
	}
	return cmd, nil
}

// ProxyCommand is the process of the proxy role, self with one argument, under
// ProxyProfile.
func ProxyCommand(self, home, role string) (*exec.Cmd, error) {
	text, err := ProxyProfile(self, home)
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{Path: Program, Args: []string{"sandbox-exec", "-p", text, self, role}}, nil
}

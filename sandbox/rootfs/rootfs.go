package rootfs

import (
	"path"
	"strings"

	"github.com/penstock/penstock/sandbox"
)

// Base is where the root is put together, in the builder's mount namespace. It
// hides the host's directory there, whose contents have been opened before.
const Base = "/tmp"

// Root is what to build.
type Root struct {
	Mounts []sandbox.Mount `json:"mounts"` // each after those it is in
	Files  []sandbox.File  `json:"files"`
	// Dirs are mount points for what comes later.
	Dirs []string `json:"dirs"`
	// Devices puts a minimal /dev there: the devices that hold no state of the
	// host's, and terminals of the pen's own.
	Devices bool `json:"devices,omitempty"`
}

// devices are the nodes of /dev that are shown from the host's.
func devices() []string { return []string{"null", "zero", "full", "random", "urandom", "tty"} }

// deviceLinks are the links of /dev, text first.
func deviceLinks() [][2]string {
	return [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
		{"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
	}
}

// cover returns the deepest of the first n mounts that p is in, nil if that is
// the root itself.
func (r *Root) cover(p string, n int) *sandbox.Mount {
	var best *sandbox.Mount
	for i := range r.Mounts[:n] {
		m := &r.Mounts[i]
		if m.Kind != sandbox.Symlink && below(p, m.Target) && (best == nil || len(m.Target) >= len(best.Target)) {
			best = m
		}
	}
	return best
}

// inMemory says whether a mount point at p may be made: nothing of the host is there.
func (r *Root) inMemory(p string, n int) bool {
	m := r.cover(path.Dir(p), n)
	return m == nil || m.Kind == sandbox.Tmpfs || m.Kind == sandbox.BlankDir
}

// strict says whether no link may be followed on the way to the i-th mount's
// source: it lies in something that a tool can write.
func (r *Root) strict(i int) bool {
	for _, m := range r.Mounts {
		if m.Kind == sandbox.Bind && m.Write && m.Source != r.Mounts[i].Source && below(r.Mounts[i].Source, m.Source) {
			return true
		}
	}
	return false
}

func below(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

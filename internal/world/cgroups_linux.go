package world

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bpfFS is where the supervisor's pins are.
const bpfFS = "/sys/fs/bpf"

// Groups are the supervisor's control groups, in every hierarchy, the lowest last.
func (s *Supervisor) Groups() (out []string) {
	for _, top := range s.topGroups() {
		filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, p)
			}
			return nil
		})
	}
	return out
}

// topGroups looks for the supervisor's name below each hierarchy's root and below
// the test's own group: it makes its groups in one of the two.
func (s *Supervisor) topGroups() (out []string) {
	own := []string{"/"}
	b, _ := os.ReadFile("/proc/self/cgroup")
	for l := range strings.Lines(string(b)) {
		if f := strings.SplitN(strings.TrimSpace(l), ":", 3); len(f) == 3 && !slices.Contains(own, f[2]) {
			own = append(own, f[2])
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for l := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(l, " - ")
		f := strings.Fields(before)
		if len(f) < 5 || !strings.HasPrefix(after, "cgroup") {
			continue
		}
		for _, rel := range own {
			dir := filepath.Join(f[4], rel, s.Name)
			if _, err := os.Stat(dir); err == nil && !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// Pins are the names below the supervisor's directory in the BPF file system.
func (s *Supervisor) Pins() (out []string) {
	entries, _ := os.ReadDir(filepath.Join(bpfFS, s.Name))
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// putAway removes what a supervisor that was killed leaves for the next one of its
// name: its pins, and groups that its janitor could not remove.
func (s *Supervisor) putAway() {
	groups := s.Groups()
	slices.Reverse(groups)
	for _, g := range groups {
		os.Remove(g)
	}
	os.RemoveAll(filepath.Join(bpfFS, s.Name))
}

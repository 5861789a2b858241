package bwrap

import (
	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
)

// Rules returns the shim's Landlock rules for s: the mounts again, as a second
// layer that holds if one of them is not what it should be. A rule covers what
// is below it, so what is read-only or hidden inside a writable mount is the
// mounts' business alone.
func Rules(s *sandbox.Spec) confine.PenRules {
	rules := []confine.PathRule{
		{Path: "/", Access: confine.List},      // what there is to see, the mounts decide
		{Path: "/proc", Access: confine.Write}, // its files are the process's own; others are read-only or blank
		{Path: "/dev", Access: confine.Write},
		{Path: sandbox.ShimPath},
	}
	for _, m := range s.Mounts {
		switch m.Kind {
		case sandbox.Bind, sandbox.Tmpfs:
			r := confine.PathRule{Path: m.Target, Optional: m.Optional}
			if m.Write {
				r.Access = confine.Write
			}
			rules = append(rules, r)
		}
	}
	for _, f := range s.Files {
		rules = append(rules, confine.PathRule{Path: f.Target})
	}
	return confine.PenRules{Paths: rules}
}

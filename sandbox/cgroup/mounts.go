package cgroup

import (
	"slices"
	"strconv"
	"strings"
)

// hierarchy is a mounted hierarchy of groups.
type hierarchy struct {
	dir  string // where it is mounted
	root string // which of its groups is what is seen there
	// controllers of version 1; none for the unified hierarchy.
	controllers []string
}

// hierarchies takes what is mounted out of a mount table: the unified hierarchy
// and, in order, those of version 1. Of a hierarchy that is mounted twice the
// first counts.
func hierarchies(mountinfo string) (unified *hierarchy, v1 []hierarchy) {
	seen := map[string]bool{}
	for _, line := range strings.Split(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue
		}
		h := hierarchy{dir: unescape(f[4]), root: unescape(f[3])}
		switch g[0] {
		case "cgroup2":
			if unified == nil {
				unified = &h
			}
		case "cgroup":
			// Others of the options are rw, xattr, name=systemd and the like.
			for _, o := range strings.Split(g[2], ",") {
				if o == "blkio" {
					o = blocks
				}
				if slices.Contains(controllers, o) && !seen[o] {
					seen[o] = true
					h.controllers = append(h.controllers, o)
				}
			}
			if len(h.controllers) > 0 {
				v1 = append(v1, h)
			}
		}
	}
	return unified, v1
}

// unescape undoes the octal escapes of proc(5)'s mount tables.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// counters reads a file of lines "name number", as memory.events has them.
func counters(text string) map[string]uint64 {
	out := map[string]uint64{}
	for _, line := range strings.Split(text, "\n") {
		name, number, ok := strings.Cut(line, " ")
		if n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64); ok && err == nil {
			out[name] = n
		}
	}
	return out
}

// validSession says whether a session's name can be a part of a group's.
func validSession(s string) bool {
	for _, r := range s {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// userOf reads the name of a user's group, sessionOf that of a session's,
// slotOf that of a proxy's. Each accepts only what Tree itself writes.
func userOf(name string) (uid int, ok bool) {
	number, ok := strings.CutPrefix(name, "u")
	if !ok {
		return 0, false
	}
	return plainNumber(number)
}

func sessionOf(name string) (string, bool) {
	session, ok := strings.CutPrefix(name, "s")
	return session, ok && validSession(session)
}

func slotOf(name string) (int, bool) { return plainNumber(name) }

// plainNumber parses a number that is written in the only way we write it.
func plainNumber(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, false
	}
	return int(n), true
}

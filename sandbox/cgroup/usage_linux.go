package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage reads what the group's processes use now.
func (g *Group) Usage() Usage {
	var u Usage
	u.CPU = time.Duration(counters(read(g.dir, "cpu.stat"))["usage_usec"]) * time.Microsecond
	if c, ok := g.by[memory]; ok {
		u.Memory = number(c.dir, map[bool]string{true: "memory.current", false: "memory.usage_in_bytes"}[c.v2])
	}
	if c, ok := g.by[pids]; ok {
		u.PIDs = number(c.dir, "pids.current")
	} else {
		u.PIDs = uint64(len(strings.Fields(read(g.dir, "cgroup.threads"))))
	}
	return u
}

// Counts reads how often limits were hit so far.
func (g *Group) Counts() Counts {
	var n Counts
	if c, ok := g.by[memory]; ok && c.v2 {
		events := counters(read(c.dir, "memory.events"))
		n.OOMKills, n.MemoryMax = events["oom_kill"], events["max"]
	} else if ok {
		n.OOMKills = counters(read(c.dir, "memory.oom_control"))["oom_kill"]
		n.MemoryMax = number(c.dir, "memory.failcnt")
	}
	if c, ok := g.by[pids]; ok {
		n.PIDsMax = counters(read(c.dir, "pids.events"))["max"]
	}
	return n
}

func read(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return string(b)
}

func number(dir, file string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(read(dir, file)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

package cgroup

import (
	"fmt"
	"math"
	"strconv"

	"github.com/penstock/penstock/sandbox"
)

// The controllers that limits use, by their names in version 2.
const (
	memory = "memory"
	pids   = "pids"
	cpu    = "cpu"
	blocks = "io"
)

// controllers lists them in the order in which their settings are written.
var controllers = []string{memory, pids, cpu, blocks}

// carrier is where a controller's files of a group are.
type carrier struct {
	dir string
	v2  bool
}

// needed returns the controllers that limits need.
func needed(l sandbox.Limits) []string {
	var out []string
	if l.Memory > 0 {
		out = append(out, memory)
	}
	if l.PIDs > 0 {
		out = append(out, pids)
	}
	if l.CPUs > 0 {
		out = append(out, cpu)
	}
	if l.ReadRate > 0 || l.WriteRate > 0 {
		out = append(out, blocks)
	}
	return out
}

// period of the processors' quota, in microseconds: the kernel's default.
const period = 100_000

// setting is what is written to a control file.
type setting struct {
	file, value string
	// optional: a kernel without swap accounting has no such file.
	optional bool
	// device: a device that can't be throttled refuses it, the others go on.
	device bool
}

// settings returns what one controller is told for limits, in the order in
// which it is written. devices are the block devices of this machine.
func settings(controller string, v2 bool, l sandbox.Limits, devices []string) []setting {
	switch controller {
	case memory:
		return memorySettings(v2, l.Memory)
	case pids:
		if l.PIDs > 0 {
			return []setting{{file: "pids.max", value: strconv.FormatInt(l.PIDs, 10)}}
		}
	case cpu:
		return cpuSettings(v2, l.CPUs)
	case blocks:
		return blockSettings(v2, l, devices)
	}
	return nil
}

// swapMargin is more than the kernel charges at once (64 pages of up to 64 KiB).
const swapMargin = 4 << 20

func memorySettings(v2 bool, bytes int64) []setting {
	if bytes <= 0 {
		return nil
	}
	n := strconv.FormatInt(bytes, 10)
	// Without the second the limit would only move the pen to the swap device.
	// Version 1 counts memory and swap together; the sum is a little larger, or its
	// bound would be hit first, which kernels from 6.12 on don't count.
	if !v2 {
		// The sum is let go first: a part above it is refused when a quota grows.
		return []setting{{file: "memory.memsw.limit_in_bytes", value: "-1", optional: true}, {file: "memory.limit_in_bytes", value: n}, {file: "memory.memsw.limit_in_bytes", value: strconv.FormatInt(min(bytes, math.MaxInt64-swapMargin)+swapMargin, 10), optional: true}}
	}
	return []setting{{file: "memory.max", value: n}, {file: "memory.swap.max", value: "0", optional: true}, {file: "memory.oom.group", value: "0"}}
}

func cpuSettings(v2 bool, cpus float64) []setting {
	if cpus <= 0 {
		return nil
	}
	quota := max(int64(math.Ceil(cpus*period)), 1000) // the kernel refuses less than 1 ms
	if !v2 {
		return []setting{{file: "cpu.cfs_period_us", value: strconv.Itoa(period)}, {file: "cpu.cfs_quota_us", value: strconv.FormatInt(quota, 10)}}
	}
	return []setting{{file: "cpu.max", value: fmt.Sprintf("%d %d", quota, period)}}
}

func blockSettings(v2 bool, l sandbox.Limits, devices []string) (out []setting) {
	if l.ReadRate <= 0 && l.WriteRate <= 0 {
		return nil
	}
	rate := func(n int64) string {
		if n <= 0 {
			return "max"
		}
		return strconv.FormatInt(n, 10)
	}
	for _, d := range devices {
		if v2 {
			out = append(out, setting{file: "io.max", value: fmt.Sprintf("%s rbps=%s wbps=%s", d, rate(l.ReadRate), rate(l.WriteRate)), device: true})
			continue
		}
		if l.ReadRate > 0 {
			out = append(out, setting{file: "blkio.throttle.read_bps_device", value: d + " " + rate(l.ReadRate), device: true})
		}
		if l.WriteRate > 0 {
			out = append(out, setting{file: "blkio.throttle.write_bps_device", value: d + " " + rate(l.WriteRate), device: true})
		}
	}
	return out
}

// by names what enforces a controller's limit.
func (c carrier) by(controller string) string {
	names := map[string][2]string{
		memory: {"cgroup v1 memory.limit_in_bytes", "cgroup v2 memory.max"},
		pids:   {"cgroup v1 pids.max", "cgroup v2 pids.max"},
		cpu:    {"cgroup v1 cpu.cfs_quota_us", "cgroup v2 cpu.max"},
		blocks: {"cgroup v1 blkio.throttle", "cgroup v2 io.max"},
	}[controller]
	if c.v2 {
		return names[1]
	}
	return names[0]
}

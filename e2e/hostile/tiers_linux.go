package hostile

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// OnTier runs every attempt in a tier as each kind of user, and compares what is
// recorded with what it is in the tier bwrap.
func OnTier(t *testing.T, tier string) {
	users := world.Users()
	if tier == "microvm" && os.Getuid() == 0 {
		delete(users, "user") // whose tests are run by that user, too: a machine takes its time
	}
	kinds := slices.Sorted(maps.Keys(users))
	for k, name := range kinds {
		t.Run(name, func(t *testing.T) {
			list := attempts()
			// Each session is a machine's start: those are shared among the users.
			mine := func(i int) bool { return tier != "microvm" || i%len(kinds) == k }
			other, _ := every(t, caller{users[name], tier}, list, mine)
			var want map[string][]string
			t.Run("bwrap", func(t *testing.T) {
				want = batched(t, caller{users[name], "bwrap"}, list, make([]outcome, len(list)))
			})
			if len(want) < 150 {
				t.Errorf("control: the audit tells of %d attempts only", len(want))
			}
			for id := range maps.Keys(want) {
				if !slices.Equal(other[id], want[id]) {
					t.Errorf("%s: the audit has\n%q, in the tier bwrap\n%q", id, other[id], want[id])
				}
			}
			for id := range maps.Keys(other) {
				if want[id] == nil {
					t.Errorf("%s: the audit has %q, in the tier bwrap nothing", id, other[id])
				}
			}
		})
	}
}

// ofKernel is what a tier's own kernel gives and no pen does: nothing of the host's is
// in it. docs/tiers.md has the list.
var ofKernel = []struct {
	tier, attempt, got string
	asRoot             bool // root alone gets it
	why                string
}{
	{tier: "gvisor", attempt: "a socket of device events' netlink", got: "GOT call 41 ", why: "it has no events: there are no devices"},
	{tier: "gvisor", attempt: "the kernel's memory and log", got: "GOT /dev/fuse\n", why: "nothing can be mounted by it"},
	{tier: "gvisor", attempt: "kernel keys, userfaultfd, perf, kexec, modules, swap", got: "GOT call 250 ", why: "the keyring is the session's own"},
	{tier: "gvisor", attempt: "kernel settings: core_pattern, modprobe, sysrq, hotplug", got: "GOT /proc/sysrq-trigger\n", asRoot: true, why: "it can be opened by its owner, and takes nothing"},
}

// withoutOwn takes that out of a report, once.
func (s *scene) withoutOwn(m *aim) {
	for _, own := range ofKernel {
		if own.tier != s.tier || own.attempt != m.name || own.asRoot && (s.o.User || os.Getuid() != 0) {
			continue
		}
		before, after, found := strings.Cut(s.report[m.id], own.got)
		if !found {
			s.t.Errorf("%03d %s: %s no longer has %q; report: %s", m.n, m.name, s.tier, own.got, s.report[m.id])
		}
		s.report[m.id] = before + after
	}
}

// memory is a directory of the pen's own.
func (s *scene) memory() string {
	if s.tier == "microvm" {
		return "/dev/shm" // something else is shown below /tmp: docs/tiers.md
	}
	return "/tmp"
}

// patience lets the tool wait longer where the processor is an emulated one.
func (s *scene) patience() string {
	if s.tier == "microvm" {
		return ", set: {HOSTILE_PATIENCE: 30s}"
	}
	return ""
}

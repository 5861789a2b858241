package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/ebpf"
)

// kernelAge knows the oldest kernel that each part works with.
func (x *examination) kernelAge(release string) {
	major, minor, ok := kernelVersion(release)
	switch {
	case !ok:
		x.ok("system", "kernel", "Linux %s", release)
	case major < 5 || major == 5 && minor < 2:
		x.bad(Fail, "system", "kernel", fmt.Errorf("kernel %s is too old for a pen's network", release), "use Linux 5.10 or later")
	case major == 5 && minor < 10:
		x.bad(Warn, "system", "kernel", fmt.Errorf("kernel %s is too old for the supervisor's eBPF", release), "use Linux 5.10 or later; pens work without it")
	default:
		x.ok("system", "kernel", "Linux %s", release)
	}
}

func kernelVersion(release string) (major, minor int, ok bool) {
	a, rest, ok := strings.Cut(release, ".")
	b := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		b = rest[:i]
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, ok && err1 == nil && err2 == nil
}

// controlGroups says which hierarchies are mounted and what they can limit.
func (x *examination) controlGroups(m *machine) {
	b, err := os.ReadFile(m.path("/proc/self/mounts"))
	if err != nil {
		x.bad(Warn, "system", "control groups", fmt.Errorf("find the hierarchies: %w", err), "mount proc on /proc")
		return
	}
	unified, v2, v1 := "", []string{}, []string{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 4:
		case f[2] == "cgroup2" && unified == "":
			unified = f[1]
			text, _ := os.ReadFile(m.path(filepath.Join(unified, "cgroup.controllers")))
			v2 = limiting(strings.Fields(string(text)))
		case f[2] == "cgroup":
			v1 = append(v1, limiting(strings.Split(f[3], ","))...)
		}
	}
	slices.Sort(v1)
	v1 = slices.Compact(v1)
	by1 := strings.Join(v1, ", ") + " by version 1"
	fix := "boot with systemd.unified_cgroup_hierarchy=1; what is missing falls back to limits per process"
	switch {
	case unified == "" && len(v1) == 0:
		x.bad(Warn, "system", "control groups", errors.New("none is mounted"), "mount -t cgroup2 none /sys/fs/cgroup")
	case unified == "":
		x.bad(Warn, "system", "control groups", fmt.Errorf("version 2 is not mounted, so there is no eBPF for pens; %s", by1), fix)
	case len(v1) == 0:
		x.ok("system", "control groups", "version 2 at %s: %s", unified, or(strings.Join(v2, ", "), "no controllers"))
	case len(v2) == 0:
		x.ok("system", "control groups", "hybrid: processes and eBPF by version 2 at %s, limits of %s", unified, by1)
	default:
		x.ok("system", "control groups", "hybrid: %s by version 2 at %s, %s", strings.Join(v2, ", "), unified, by1)
	}
}

// limiting picks the controllers that a policy's limits use.
func limiting(words []string) (out []string) {
	for _, w := range words {
		switch w {
		case "memory", "pids", "cpu", "io", "blkio", "freezer":
			out = append(out, w)
		}
	}
	return out
}

// bpffs asks whether the supervisor could pin its programs.
func (x *examination) bpffs(dir string) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	switch {
	case err != nil:
		x.bad(Warn, group, "bpffs", fmt.Errorf("%s: %w", dir, err), "use a kernel with CONFIG_BPF_SYSCALL")
	case uint32(st.Type) != unix.BPF_FS_MAGIC:
		x.bad(Warn, group, "bpffs", fmt.Errorf("nothing is mounted on %s", dir), "sudo mount -t bpf bpf "+dir)
	default:
		x.ok(group, "bpffs", "mounted on %s", dir)
	}
}

// isFeature tells names of eBPF's features from those of limits.
func isFeature(name string) bool {
	switch name {
	case ebpf.FeaturePens, ebpf.FeatureProcess, ebpf.FeatureGuard, ebpf.FeatureSteering, ebpf.FeatureErrno, ebpf.FeatureAncestor, ebpf.FeatureLSM:
		return true
	}
	return false
}

// bpf says which programs of the supervisor's this kernel loads: the daemon has
// loaded them, or the doctor did and threw them away again.
func (x *examination) bpf(features []ebpf.Feature) {
	optional := map[string]bool{ebpf.FeatureErrno: true, ebpf.FeatureAncestor: true, ebpf.FeatureLSM: true}
	var have, lack []string
	for _, f := range features {
		switch {
		case f.State == ebpf.Available:
			have = append(have, f.Name)
		case optional[f.Name]:
			lack = append(lack, f.Name+" ("+f.Reason+")")
		default:
			x.bad(Warn, group, "eBPF", fmt.Errorf("%s: %s", f.Name, or(f.Reason, "could not be tried")),
				"use Linux 5.10 or later with CONFIG_CGROUP_BPF and CONFIG_DEBUG_INFO_BTF, outside of containers, not locked down for confidentiality; steering falls back to nftables")
			return
		}
	}
	text := "loads " + strings.Join(have, ", ")
	if len(lack) > 0 {
		text += "; can be done without: " + strings.Join(lack, ", ")
	}
	x.ok(group, "eBPF", "%s", oneLine(text))
}

// packagedProfile is where the .deb has the AppArmor profile.
const packagedProfile = "/usr/share/penstock/apparmor/penstock"

// appArmor explains Ubuntu's restriction; whether pens can be made nevertheless
// is tried by network.
func (x *examination) appArmor(m *machine, self string) {
	b, err := os.ReadFile(m.path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"))
	if err != nil || strings.TrimSpace(string(b)) != "1" {
		return // no such kernel, or turned off
	}
	label, err := os.ReadFile(m.path("/proc/self/attr/apparmor/current"))
	if err != nil {
		label, _ = os.ReadFile(m.path("/proc/self/attr/current"))
	}
	profile := strings.Trim(string(label), " \n\x00")
	switch {
	case m.uid == 0:
		x.ok("system", "AppArmor", "restricts user namespaces of others than root")
	case profile != "" && profile != "unconfined":
		x.ok("system", "AppArmor", "restricts user namespaces; this program has the profile %s", profile)
	case exists(m.path(packagedProfile)) && self == "/usr/bin/penstock":
		x.bad(Warn, "system", "AppArmor", errors.New("restricts user namespaces, and the installed profile is not loaded"),
			"sudo ln -sf "+packagedProfile+" /etc/apparmor.d/penstock && sudo apparmor_parser -r /etc/apparmor.d/penstock")
	default:
		x.bad(Warn, "system", "AppArmor", fmt.Errorf("restricts user namespaces, and there is no profile for %s", self),
			fmt.Sprintf(`install Penstock's package, or: printf 'abi <abi/4.0>,\nprofile penstock-local %s flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/penstock-local && sudo apparmor_parser -r /etc/apparmor.d/penstock-local`, self))
	}
}

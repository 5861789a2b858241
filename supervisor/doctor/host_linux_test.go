package doctor

import (
	"os"
	"testing"

	"github.com/penstock/penstock/ebpf"
)

func TestKernelAge(t *testing.T) {
	for release, want := range map[string]State{
		"6.8.0-31-generic": OK, "5.10.0": OK, "5.15.167.4-microsoft-standard-WSL2": OK, "5.4.0-216-generic": Warn,
		"4.19.0-27-amd64": Fail, "5.1.9": Fail, "10.0": OK, "unheard of": OK,
	} {
		like(t, examine(t, func(x *examination) { x.kernelAge(release) }), "kernel", want, release)
	}
}

func TestControlGroups(t *testing.T) {
	const v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
	for name, tt := range map[string]struct {
		mounts, controllers string
		state               State
		want                string
	}{
		"none":             {"proc /proc proc rw 0 0\n", "", Warn, "none is mounted"},
		"version 2":        {v2, "cpuset cpu io memory pids\n", OK, "version 2 at /sys/fs/cgroup: cpu, io, memory, pids"},
		"nothing in it":    {v2, "\n", OK, "no controllers"},
		"version 1":        {"cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n", "", Warn, "memory by version 1"},
		"hybrid":           {v2 + "cgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\ncgroup /c/pids cgroup rw,pids 0 0\ncgroup /c/s cgroup rw,name=systemd 0 0\n", "", OK, "limits of cpu, pids by version 1"},
		"hybrid, on move":  {v2 + "cgroup /c/cpu cgroup rw,cpu 0 0\n", "memory\n", OK, "hybrid: memory by version 2"},
		"mounted, renamed": {"x /cg cgroup2 rw 0 0\n", "", OK, "version 2 at /cg"},
	} {
		t.Run(name, func(t *testing.T) {
			m := elsewhere(t, map[string]string{"/proc/self/mounts": tt.mounts, "/sys/fs/cgroup/cgroup.controllers": tt.controllers})
			like(t, examine(t, func(x *examination) { x.controlGroups(m) }), "control groups", tt.state, tt.want)
		})
	}
}

func TestAppArmor(t *testing.T) {
	const self = "/usr/bin/penstock"
	for name, tt := range map[string]struct {
		restricted, label string
		packaged          bool
		uid               int
		self              string
		state             State // "": nothing to say
		want              string
	}{
		"no such kernel":     {"", "", false, 1000, self, "", ""},
		"turned off":         {"0\n", "unconfined", false, 1000, self, "", ""},
		"root":               {"1\n", "unconfined", false, 0, self, OK, "others than root"},
		"with the profile":   {"1\n", "penstock (unconfined)\n", true, 1000, self, OK, "penstock (unconfined)"},
		"not loaded":         {"1\n", "unconfined\n", true, 1000, self, Warn, "ln -sf /usr/share/penstock/apparmor/penstock"},
		"installed by hand":  {"1\n", "unconfined\n", true, 1000, "/opt/penstock", Warn, "profile penstock-local /opt/penstock "},
		"no package at all":  {"1\n", "unconfined\n", false, 1000, self, Warn, "install Penstock's package"},
		"label not readable": {"1\n", "", false, 1000, self, Warn, "penstock-local"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			if tt.restricted != "" {
				files["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = tt.restricted
			}
			if tt.label != "" {
				files["/proc/self/attr/current"] = tt.label
			}
			if tt.packaged {
				files[packagedProfile] = "profile"
			}
			m := elsewhere(t, files)
			m.uid = tt.uid
			found := examine(t, func(x *examination) { x.appArmor(m, tt.self) })
			if tt.state == "" {
				if len(found) != 0 {
					t.Errorf("%+v", found)
				}
				return
			}
			like(t, found, "AppArmor", tt.state, tt.want)
		})
	}
}

func TestBPF(t *testing.T) {
	for name, tt := range map[string]struct {
		features []ebpf.Feature
		state    State
		want     string
	}{
		"all":      {[]ebpf.Feature{{Name: ebpf.FeaturePens, State: ebpf.Available}, {Name: ebpf.FeatureLSM, State: ebpf.Available}}, OK, "loads socket hooks of pens, security module"},
		"without":  {[]ebpf.Feature{{Name: ebpf.FeaturePens, State: ebpf.Available}, {Name: ebpf.FeatureLSM, State: ebpf.Unavailable, Reason: "no such"}}, OK, "without: security module (no such)"},
		"refused":  {[]ebpf.Feature{{Name: ebpf.FeatureSteering, State: ebpf.Unavailable, Reason: "EPERM"}}, Warn, "steering: EPERM"},
		"untested": {[]ebpf.Feature{{Name: ebpf.FeaturePens}}, Warn, "could not be tried"},
	} {
		t.Run(name, func(t *testing.T) {
			like(t, examine(t, func(x *examination) { x.bpf(tt.features) }), "eBPF", tt.state, tt.want)
		})
	}
}

// TestBPFHere: what the doctor says of this kernel is what the kernel does.
func TestBPFHere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loading a program needs root: root's run has this test")
	}
	f := examine(t, func(x *examination) { x.bpf(ebpf.Probe()) })["eBPF"]
	t.Logf("%+v", f)
	if f.State == "" {
		t.Error("nothing was found")
	}
}

// Command profile writes packaging/container/seccomp.json: the filter with which a
// container engine starts a container that pens are to be built in.
//
// It is a list of what is allowed, so that a system call that nobody has thought of is
// refused: all that golang.org/x/sys knows of Linux, without what below is refused and
// why. Against the defaults of Docker and podman it opens what makes a pen (namespaces,
// mounts, pivot_root, sethostname), for any user of the container, where theirs ask for
// CAP_SYS_ADMIN; it is stricter where theirs allow keys of the kernel's, io_uring or
// vsock.
//
// Its hazard is the kernel that a container shares with its host: each name that leaves
// the list of refusals is one more way to a bug there. What the tool in the pen may call
// is not decided here but by the pen's own filter (sandbox/confine), which is another
// and stricter one. Nobody imports this package; go generate runs it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:generate go run . ../seccomp.json

// refused are the system calls that the profile leaves out. None is one that a pen, an
// agent or a build needs; most ask for a capability that a container hasn't got.
func refused() []string {
	return strings.Fields(`
		kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd vhangup
		init_module finit_module delete_module create_module query_module get_kernel_syms
		settimeofday clock_settime clock_settime64 stime
		ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write modify_ldt vm86 vm86old
		bpf perf_event_open lookup_dcookie fanotify_init fanotify_mark open_by_handle_at syslog
		add_key request_key keyctl
		io_uring_setup io_uring_enter io_uring_register userfaultfd
		mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages
		setdomainname process_madvise kcmp
		nfsservctl sysfs _sysctl uselib ustat bdflush afs_syscall security tuxcall vserver
		getpmsg putpmsg gtty stty lock mpx prof profil ftime ulimit break idle
		epoll_ctl_old epoll_wait_old oldfstat oldlstat oldolduname oldstat olduname
		sgetmask ssetmask swapcontext lsm_set_self_attr
		arch_specific_syscall syscall_mask oabi_syscall_base
	`)
}

// conditional are allowed with certain arguments only.
func conditional() []rule {
	equal := func(name string, index uint, value uint64) rule {
		return rule{Names: []string{name}, Action: allow, Args: []arg{{index, value, "SCMP_CMP_EQ"}}}
	}
	const vsock, alg = 40, 38 // address families: to the hypervisor, and to the kernel's crypto
	return []rule{
		// Linux as it is, 32 bits, and what asks which it is (personality(2)).
		equal("personality", 0, 0), equal("personality", 0, 8), equal("personality", 0, 0x20000), equal("personality", 0, 0x20008), equal("personality", 0, 0xffffffff),
		{Names: []string{"socket"}, Action: allow, Args: []arg{{0, alg, "SCMP_CMP_LT"}}},
		equal("socket", 0, alg+1),
		{Names: []string{"socket"}, Action: allow, Args: []arg{{0, vsock, "SCMP_CMP_GT"}}},
	}
}

const allow = "SCMP_ACT_ALLOW"

type arg struct {
	Index uint   `json:"index"`
	Value uint64 `json:"value"`
	Op    string `json:"op"`
}

type rule struct {
	Names  []string `json:"names"`
	Action string   `json:"action"`
	Args   []arg    `json:"args,omitempty"`
}

type arch struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

// profile is the form that Docker, podman, containerd and CRI-O read.
type profile struct {
	DefaultAction   string `json:"defaultAction"`
	DefaultErrnoRet uint   `json:"defaultErrnoRet"`
	ArchMap         []arch `json:"archMap"`
	Syscalls        []rule `json:"syscalls"`
}

// calls are the names of Linux's system calls on the architectures that Penstock is
// built for, and their 32 bits, as the sources in dir have them.
func calls(dir string) ([]string, error) {
	numbered := regexp.MustCompile(`(?m)^\s*SYS_([A-Z0-9_]+)\s*=`)
	var all []string
	for _, arch := range []string{"amd64", "386", "arm64", "arm"} {
		b, err := os.ReadFile(filepath.Join(dir, "unix", "zsysnum_linux_"+arch+".go"))
		if err != nil {
			return nil, fmt.Errorf("read the system calls: %w", err)
		}
		for _, m := range numbered.FindAllSubmatch(b, -1) {
			all = append(all, strings.ToLower(string(m[1])))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// build makes the profile for these system calls.
func build(all []string) ([]byte, error) {
	p := profile{
		DefaultAction: "SCMP_ACT_ERRNO", DefaultErrnoRet: 38, // ENOSYS: programs know what to do without
		ArchMap: []arch{
			{"SCMP_ARCH_X86_64", []string{"SCMP_ARCH_X86"}},
			{"SCMP_ARCH_AARCH64", []string{"SCMP_ARCH_ARM"}},
		},
	}
	leave := refused()
	special := conditional()
	for _, r := range special {
		leave = append(leave, r.Names...)
	}
	plain := rule{Action: allow}
	for _, name := range all {
		if !slices.Contains(leave, name) {
			plain.Names = append(plain.Names, name)
		}
	}
	// What only ARM has, and x/sys counts from another number.
	plain.Names = append(plain.Names, "breakpoint", "cacheflush", "set_tls")
	slices.Sort(plain.Names)
	p.Syscalls = append([]rule{plain}, special...)
	b, err := json.MarshalIndent(p, "", "\t")
	return append(b, '\n'), err
}

func run(name string) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		return fmt.Errorf("find golang.org/x/sys: %w", err)
	}
	all, err := calls(strings.TrimSpace(string(out)))
	if err != nil {
		return err
	}
	b, err := build(all)
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "profile: name the file to write")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

package netns

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock/penstock/sandbox/container"
)

// unknown is a machine of which nothing was found out.
func unknown(change func(*Facts)) Facts {
	f := Facts{UsernsClone: -1, MaxUserns: 65536, MaxNetns: 65536, AppArmorUserns: -1, ModulesOff: 0, Seccomp: 0,
		Executable: "/opt/bin/penstock", Kernel: "6.8.0-41-generic", ModuleDir: true}
	if change != nil {
		change(&f)
	}
	return f
}

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		name       string
		step       Step
		err        error
		facts      Facts
		cause, fix string // parts
	}{
		{"debian sysctl", StepNamespace, syscall.EPERM, unknown(func(f *Facts) { f.UsernsClone = 0 }),
			"kernel.unprivileged_userns_clone=0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"namespaces off", StepNamespace, syscall.ENOSPC, unknown(func(f *Facts) { f.MaxUserns = 0 }),
			"user.max_user_namespaces=0", "sysctl -w user.max_user_namespaces=65536"},
		{"network namespaces off", StepNamespace, syscall.ENOSPC, unknown(func(f *Facts) { f.MaxNetns = 0 }),
			"user.max_net_namespaces=0", "sysctl -w user.max_net_namespaces=65536"},
		{"too many", StepNamespace, syscall.ENOSPC, unknown(func(f *Facts) { f.MaxUserns = 100 }),
			"user.max_user_namespaces=100", "penstock ps"},
		{"nested", StepNamespace, syscall.EUSERS, unknown(nil), "32 deep", "outside"},
		{"not built", StepNamespace, syscall.EINVAL, unknown(nil), "CONFIG_USER_NS", "CONFIG_USER_NS=y"},
		{"ubuntu 24.04, clone", StepNamespace, &os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: syscall.EACCES},
			unknown(func(f *Facts) { f.AppArmorUserns = 1 }), "AppArmor", "profile penstock-local /opt/bin/penstock flags=(unconfined)"},
		{"ubuntu 24.04, inside", StepLink, syscall.EPERM, unknown(func(f *Facts) { f.AppArmorUserns = 1 }),
			"kernel.apparmor_restrict_unprivileged_userns=1", "apparmor_parser -r /etc/apparmor.d/penstock-local"},
		{"ubuntu 24.04, as root", StepLink, syscall.EPERM, unknown(func(f *Facts) { f.AppArmorUserns, f.Root = 1, true }),
			"denies it", "journalctl"},
		{"docker", StepNamespace, syscall.EPERM, unknown(func(f *Facts) { f.Place, f.Seccomp = container.Place{Engine: "docker", Seccomp: true}, 2 }),
			"docker container: its seccomp profile refuses user namespaces", "--security-opt seccomp=penstock-seccomp.json"},
		{"kubernetes", StepNamespace, syscall.EPERM, unknown(func(f *Facts) { f.Place.Engine = "kubernetes" }),
			"kubernetes container", "seccompProfile"},
		{"lxc", StepNamespace, syscall.EPERM, unknown(func(f *Facts) { f.Place.Engine = "lxc" }), "lxc container", "security.nesting=true"},
		{"docker, inside", StepLink, syscall.EPERM, unknown(func(f *Facts) { f.Place.Engine = "docker" }), "docker container: a security module", "apparmor=unconfined"},
		{"service manager", StepNamespace, syscall.EPERM, unknown(func(f *Facts) { f.Seccomp = 2 }), "seccomp filter", "RestrictNamespaces"},
		{"selinux or chroot", StepNamespace, syscall.EPERM, unknown(nil), "security module", "chroot"},
		{"processes", StepNamespace, syscall.EAGAIN, unknown(nil), "limit of processes", "ulimit -u"},
		{"program gone", StepNamespace, syscall.ENOENT, unknown(nil), "program file is gone", "installed"},
		{"no nf_tables", StepNftables, syscall.EPROTONOSUPPORT, unknown(nil), "lacks nf_tables", "modprobe -a nf_tables"},
		{"no netfilter subsystem", StepNftables, syscall.EINVAL, unknown(nil), "lacks nf_tables", "5.2"},
		{"no nat", StepNAT, syscall.ENOENT, unknown(nil), "nft_chain_nat", "modprobe"},
		{"no nat, container", StepNAT, syscall.EOPNOTSUPP, unknown(func(f *Facts) { f.Place.Engine = "docker" }), "container can't load modules", "on the host: sudo modprobe"},
		{"no ct", StepRules, syscall.ENOENT, unknown(nil), "nft_ct", "modprobe"},
		{"no redirect", StepRedirect, syscall.ENOENT, unknown(nil), "nft_redir", "modprobe"},
		{"no reject or log", StepReject, syscall.ENOENT, unknown(nil), "nft_reject_inet or nft_log", "nft_reject_inet"},
		{"no nflog", StepDrops, syscall.EINVAL, unknown(nil), "nfnetlink_log", "nfnetlink_log"},
		{"modules off", StepRedirect, syscall.ENOENT, unknown(func(f *Facts) { f.ModulesOff = 1 }), "kernel.modules_disabled=1", "modules-load.d"},
		{"kernel updated", StepRedirect, syscall.ENOENT, unknown(func(f *Facts) { f.ModuleDir = false }), "/lib/modules/6.8.0-41-generic is absent", "restart"},
		{"nft denied", StepNftables, syscall.EPERM, unknown(nil), "security module", "journalctl"},
		{"nft memory", StepRules, syscall.ENOBUFS, unknown(nil), "no memory", "sessions"},
		{"ipv6 off, read-only", StepIPv6, &os.PathError{Op: "open", Path: "/proc/sys/…", Err: syscall.EROFS}, unknown(nil), "IPv6 is off", "disable_ipv6=0"},
		{"no bwrap", StepExec, &os.PathError{Op: "execute", Path: "/usr/bin/bwrap", Err: syscall.ENOENT}, unknown(nil), "not installed", "apt-get install bubblewrap"},
		{"files", StepListen, syscall.EMFILE, unknown(nil), "too many open files", "ulimit -n"},
		{"else", StepListen, errors.New("odd"), unknown(nil), "not a refusal", "penstock doctor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := explain(tc.step, fmt.Errorf("wrapped: %w", tc.err), tc.facts)
			if !strings.Contains(e.Cause, tc.cause) || !strings.Contains(e.Fix, tc.fix) {
				t.Errorf("cause %q, fix %q", e.Cause, e.Fix)
			}
			if strings.ContainsRune(e.Cause+e.Fix, '\n') || e.Hint() != e.Fix || !errors.Is(e, tc.err) {
				t.Errorf("%+v", e)
			}
		})
	}
}

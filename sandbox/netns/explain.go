package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/penstock/penstock/sandbox/container"
)

// Facts are what is known of the machine when a step has failed. Numbers are
// -1, and strings empty, where the kernel or the distribution has no such thing.
type Facts struct {
	UsernsClone    int // kernel.unprivileged_userns_clone (Debian)
	MaxUserns      int // user.max_user_namespaces
	MaxNetns       int // user.max_net_namespaces
	AppArmorUserns int // kernel.apparmor_restrict_unprivileged_userns (Ubuntu)
	ModulesOff     int // kernel.modules_disabled
	Seccomp        int // Seccomp: of /proc/self/status; 2 is a filter
	Place          container.Place
	Executable     string // absolute path of this program
	Kernel         string // release, as uname -r
	ModuleDir      bool   // /lib/modules/<release> exists
	Root           bool   // effective uid 0
}

// explain turns a failed step into an *Error. It is a function of its arguments
// only: every machine it knows is a line in a test.
func explain(step Step, err error, f Facts) *Error {
	e := &Error{Step: step, Err: err}
	switch {
	case step == StepNamespace:
		e.Cause, e.Fix = explainNamespace(err, f)
	case denied(err) && f.AppArmorUserns == 1 && !f.Root:
		// Ubuntu 24.04 lets an unconfined program make the namespace and then
		// denies it every capability inside.
		e.Cause, e.Fix = "AppArmor lets no unconfined program use a user namespace (kernel.apparmor_restrict_unprivileged_userns=1)", appArmorFix(f)
	case denied(err) && (f.Place.Engine != "" || f.Place.Foreign):
		// What is refused in a namespace that could be made is a security module's.
		e.Cause, e.Fix = container.Explain(&f.Place, &container.Tried{Mount: syscall.EACCES})
	case step == StepIPv6 && (errors.Is(err, syscall.EROFS) || denied(err)):
		e.Cause = "IPv6 is off by default and /proc/sys can't be written here"
		e.Fix = "sysctl -w net.ipv6.conf.default.disable_ipv6=0, or start the container with --sysctl net.ipv6.conf.default.disable_ipv6=0"
	case step == StepNftables || step == StepNAT || step == StepRules || step == StepRedirect || step == StepReject || step == StepDrops:
		e.Cause, e.Fix = explainNetfilter(step, err, f)
	case step == StepRoot && errors.Is(err, fs.ErrNotExist):
		e.Cause, e.Fix = "something that the pen shows went away meanwhile", "start again"
	case step == StepRoot && errors.Is(err, syscall.ELOOP):
		e.Cause, e.Fix = "a directory in the work directory became a symbolic link meanwhile", "look at who changes it, then start again"
	case step == StepExec && errors.Is(err, fs.ErrNotExist):
		e.Cause, e.Fix = "it is not installed", "install it: apt-get install bubblewrap"
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		e.Cause, e.Fix = "too many open files", "ulimit -n 4096, or fewer sessions at once"
	case errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS):
		e.Cause, e.Fix = "the kernel has no memory for it", "end some sessions, or raise the memory limit of this cgroup"
	case denied(err):
		e.Cause = "the kernel denies it to the pen's own user namespace: a seccomp filter or a security module (SELinux, AppArmor) forbids it"
		e.Fix = "look for the denial: journalctl -k -g 'apparmor|avc|audit' --since -5min"
	default:
		e.Cause = "not a refusal that penstock knows"
		e.Fix = "penstock doctor tells what this machine can enforce"
	}
	return e
}

func denied(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}

func explainNamespace(err error, f Facts) (cause, fix string) {
	switch {
	case errors.Is(err, syscall.ENOSPC) && f.MaxUserns == 0:
		return "user namespaces are switched off (user.max_user_namespaces=0)", "sudo sysctl -w user.max_user_namespaces=65536"
	case errors.Is(err, syscall.ENOSPC) && f.MaxNetns == 0:
		return "network namespaces are switched off (user.max_net_namespaces=0)", "sudo sysctl -w user.max_net_namespaces=65536"
	case errors.Is(err, syscall.ENOSPC):
		return "the limit of namespaces is reached (user.max_user_namespaces=" + strconv.Itoa(f.MaxUserns) +
				", user.max_net_namespaces=" + strconv.Itoa(f.MaxNetns) + ")",
			"end some sessions (penstock ps), or: sudo sysctl -w user.max_user_namespaces=65536 user.max_net_namespaces=65536"
	case errors.Is(err, syscall.EUSERS):
		return "user namespaces are nested 32 deep already", "start penstock outside of them"
	case errors.Is(err, syscall.EINVAL):
		return "the kernel has no user or network namespaces (CONFIG_USER_NS, CONFIG_NET_NS)", "use a kernel built with CONFIG_USER_NS=y and CONFIG_NET_NS=y"
	case errors.Is(err, fs.ErrNotExist):
		return "penstock's own program file is gone", "start penstock again from where it is installed"
	case errors.Is(err, syscall.EAGAIN):
		return "the limit of processes is reached", "ulimit -u, or fewer sessions at once"
	case errors.Is(err, syscall.ENOMEM):
		return "the kernel has no memory for another process", "end some sessions, or raise the memory limit of this cgroup"
	case denied(err) && f.UsernsClone == 0:
		return "the kernel lets only root make user namespaces (kernel.unprivileged_userns_clone=0)", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case denied(err) && f.AppArmorUserns == 1 && !f.Root:
		return "AppArmor lets no unconfined program use a user namespace (kernel.apparmor_restrict_unprivileged_userns=1)", appArmorFix(f)
	case denied(err) && (f.Place.Engine != "" || f.Place.Foreign):
		return container.Explain(&f.Place, &container.Tried{Namespaces: err})
	case denied(err) && f.Seccomp == 2:
		return "a seccomp filter on this process forbids user namespaces (a service manager, a container or another sandbox)",
			"start penstock outside of it; in a systemd unit remove RestrictNamespaces="
	case denied(err):
		return "the kernel denies user namespaces to this user (in a chroot, or by SELinux or another security module)",
			"leave the chroot; for SELinux: sudo setsebool -P user_namespace 1 (or see ausearch -m avc -ts recent)"
	}
	return "not a refusal that penstock knows", "penstock doctor tells what this machine can enforce"
}

func explainNetfilter(step Step, err error, f Facts) (cause, fix string) {
	module := map[Step]string{
		StepNftables: "nf_tables",
		StepNAT:      "nft_chain_nat",
		StepRules:    "nft_ct",
		StepRedirect: "nft_redir",
		StepReject:   "nft_reject_inet",
		StepDrops:    "nfnetlink_log",
	}[step]
	if step == StepReject {
		module += " or nft_log"
	}
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EPROTONOSUPPORT) ||
		errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EINVAL)
	switch {
	case denied(err):
		return "the kernel denies netfilter to the pen's own user namespace (a security module forbids it)",
			"look for the denial: journalctl -k -g 'apparmor|avc|audit' --since -5min"
	case errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS):
		return "the kernel has no memory for the rules", "end some sessions, or raise the memory limit of this cgroup"
	case !missing:
		return "not a refusal that penstock knows", "penstock doctor tells what this machine can enforce"
	}
	cause = "the kernel lacks " + module
	all := "nf_tables nft_chain_nat nft_ct nft_redir nft_reject_inet nft_log nfnetlink_log"
	switch {
	case f.Place.Engine != "":
		return cause + ", and a container can't load modules", "on the host: sudo modprobe -a " + all
	case f.ModulesOff == 1:
		return cause + ", and loading modules is switched off (kernel.modules_disabled=1)", "load them before it is: echo " + all + " | tr ' ' '\\n' | sudo tee /etc/modules-load.d/penstock.conf, then restart"
	case !f.ModuleDir && f.Kernel != "":
		return cause + " and /lib/modules/" + f.Kernel + " is absent (the kernel was updated since the start, or it is a custom one)",
			"restart the machine, or use a kernel with NF_TABLES_INET, NFT_NAT, NFT_REDIR, NFT_REJECT, NFT_CT, NFT_LOG (5.2 or later)"
	}
	return cause, "sudo modprobe -a " + all + " (Linux 5.2 or later)"
}

// appArmorFix is the profile that Ubuntu's own packages of such programs ship.
// Not under the name of our package's, which may be a link to it.
func appArmorFix(f Facts) string {
	exe := f.Executable
	if exe == "" {
		exe = "/usr/local/bin/penstock"
	}
	return fmt.Sprintf(`printf 'abi <abi/4.0>,\nprofile penstock-local %s flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/penstock-local && sudo apparmor_parser -r /etc/apparmor.d/penstock-local`, exe)
}

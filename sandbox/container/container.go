package container

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Profile is where packages and the image have the seccomp profile for engines, and
// ProfileName what it is called on the machine where the engine reads it.
const (
	Profile     = "/usr/share/penstock/container/seccomp.json"
	ProfileName = "penstock-seccomp.json"
)

// Place is where this process is, as the files of /proc and the marks of engines say.
type Place struct {
	Engine  string // "docker", "podman", "kubernetes", "lxc", …; "" where no mark was found
	Nested  bool   // in another user namespace than the machine's first
	Seccomp bool   // a filter is on this process
	Label   string // of AppArmor or SELinux; "" for none, or unconfined
	Covered int    // mounts over parts of /proc: while there is one, no other /proc can be mounted
	Mapless bool   // root without CAP_SETFCAP, who since Linux 5.12 can map no root
	Foreign bool   // /proc is that of another PID namespace
}

// Inside reports whether this is a container, or something like one.
func (p *Place) Inside() bool { return p.Engine != "" || p.Nested || p.Foreign }

func (p *Place) String() string {
	name := p.Engine
	switch {
	case name == "" && p.Nested:
		return "a nested user namespace"
	case name == "" && p.Foreign:
		return "a PID namespace"
	case name == "":
		return "no container"
	case p.Nested:
		return "a " + name + " container in a user namespace"
	}
	return "a " + name + " container"
}

// Tried is what came of the trial's steps: nil for what works, and for what was not
// tried.
type Tried struct {
	Namespaces error // user, mount, PID, IPC, UTS and network namespace
	Hostname   error // sethostname in them
	Mount      error // a tmpfs
	Proc       error // a /proc of the new PID namespace
	Root       error // pivot_root
}

// Refused reports whether a step failed.
func (t *Tried) Refused() bool {
	return errors.Join(t.Namespaces, t.Hostname, t.Mount, t.Proc, t.Root) != nil
}

// Lack is an option that the container was started without.
type Lack struct {
	Cause  string // what refuses what
	Option string // as the engine's command line has it
}

func denied(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSYS)
}

// Lacks tells which options would let a pen be built, the least there are: nothing
// is said of what was neither refused nor is known to be refused next.
func Lacks(p *Place, t *Tried) []Lack {
	var out []Lack
	o := options(p)
	if p.Foreign {
		// Nothing that is done by way of /proc means this process's children.
		return []Lack{{"its /proc shows the processes of another PID namespace", foreign}}
	}
	if p.Mapless && errors.Is(t.Namespaces, syscall.EPERM) {
		return []Lack{{"its root has no CAP_SETFCAP, without which the kernel lets no root into another user namespace", "--user 1000 (or, as root, --cap-add SETFCAP,SETUID,SETGID)"}}
	}
	var refused []string
	for _, step := range []struct {
		what string
		err  error
	}{{"user namespaces", t.Namespaces}, {"sethostname", t.Hostname}, {"mount", t.Mount}, {"pivot_root", t.Root}} {
		// A security module answers EACCES, a filter EPERM or ENOSYS.
		if step.err != nil && denied(step.err) && !errors.Is(step.err, syscall.EACCES) {
			refused = append(refused, step.what)
		}
	}
	if len(refused) > 0 && (p.Seccomp || p.Engine != "") {
		out = append(out, Lack{"its seccomp profile refuses " + strings.Join(refused, ", "), o.seccomp})
	}
	what := ""
	switch {
	case errors.Is(t.Namespaces, syscall.EACCES):
		what = " refuses user namespaces"
	case errors.Is(t.Mount, syscall.EACCES), errors.Is(t.Root, syscall.EACCES):
		what = " refuses mounts"
	}
	switch {
	case what != "" && strings.HasSuffix(p.Label, ")"): // profile (mode)
		out = append(out, Lack{"its AppArmor profile " + p.Label + what, o.apparmor})
	case what != "" && p.Label != "":
		out = append(out, Lack{"its SELinux label " + p.Label + what, o.selinux})
	case what != "":
		out = append(out, Lack{"a security module" + what, o.apparmor})
	case t.Namespaces != nil && strings.HasPrefix(p.Label, "docker-default"):
		out = append(out, Lack{"the AppArmor profile docker-default refuses mounts", o.apparmor})
	}
	switch {
	case t.Proc != nil && denied(t.Proc) && p.Covered == 0:
		out = append(out, Lack{"a /proc of the pen's own is refused (" + t.Proc.Error() + ")", o.unmask})
	case t.Proc != nil && denied(t.Proc), p.Covered > 0 && t.Refused():
		out = append(out, Lack{fmt.Sprintf("it covers parts of /proc (%d mounts), so that the kernel refuses a pen its own", p.Covered), o.unmask})
	}
	return out
}

// foreign is the remedy where /proc was not mounted anew.
const foreign = "unshare --mount-proc, or mount -t proc proc /proc, before penstock"

// words are an engine's for the three things that pens need.
type words struct{ seccomp, apparmor, selinux, unmask string }

func options(p *Place) words {
	const file = "--security-opt seccomp=" + ProfileName
	switch p.Engine {
	case "podman":
		return words{file, "--security-opt apparmor=unconfined", "--security-opt label=disable", "--security-opt 'unmask=/proc/*'"}
	case "kubernetes":
		return words{
			"securityContext.seccompProfile: {type: Localhost, localhostProfile: " + ProfileName + "}", "securityContext.appArmorProfile: {type: Unconfined}",
			"securityContext.seLinuxOptions: {type: spc_t}", "securityContext.procMount: Unmasked (with hostUsers: false in the pod)",
		}
	case "lxc":
		return words{"security.nesting=true", "lxc.apparmor.profile=unconfined", "security.nesting=true", "security.nesting=true"}
	case "":
		outside := "penstock started outside of it"
		return words{outside, outside, outside, outside}
	}
	return words{file, "--security-opt apparmor=unconfined", "--security-opt label=disable", "--security-opt systempaths=unconfined"}
}

// Explain is Lacks in two lines: a cause and the whole remedy. Both are "" where
// nothing was found that an option of the container's would change.
func Explain(p *Place, t *Tried) (cause, fix string) {
	lacks := Lacks(p, t)
	if len(lacks) == 0 || !p.Inside() {
		return "", ""
	}
	if p.Foreign {
		return "this is " + p.String() + ": " + lacks[0].Cause, lacks[0].Option
	}
	var causes, opts []string
	for _, l := range lacks {
		causes = append(causes, l.Cause)
		if !strings.Contains(strings.Join(opts, " "), l.Option) {
			opts = append(opts, l.Option)
		}
	}
	cause = "this is " + p.String() + ": " + strings.Join(causes, "; ")
	fix = "start the container with " + strings.Join(opts, " ")
	switch {
	case p.Engine == "":
		return cause, "start penstock outside of it, or let what made it show all of /proc and refuse no mounts"
	case p.Engine == "kubernetes":
		fix = "set " + strings.Join(opts, ", ")
	case p.Engine == "lxc":
		fix = "set " + strings.Join(opts, ", ") + " for this container"
	}
	if strings.Contains(fix, ProfileName) {
		fix += " (the profile is " + Profile + " of the package and the image)"
	}
	return cause, fix
}

// Error is a pen that could not be built, for a reason of the container's.
type Error struct {
	Err   error
	Cause string
	Fix   string
}

func (e *Error) Error() string { return e.Err.Error() + ": " + e.Cause }

// Unwrap returns what failed.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns the remedy.
func (e *Error) Hint() string { return e.Fix }

// Because adds to an error what the container has to do with it, if anything.
func Because(err error, p *Place, t *Tried) error {
	if cause, fix := Explain(p, t); cause != "" {
		return &Error{err, cause, fix}
	}
	return err
}

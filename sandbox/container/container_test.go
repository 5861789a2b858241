package container

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestExplain: each container that is known, what it refuses, and the least that is to
// be done about it.
func TestExplain(t *testing.T) {
	const eperm, eacces = syscall.EPERM, syscall.EACCES
	const seccomp, apparmor, unmask = "--security-opt seccomp=penstock-seccomp.json", "--security-opt apparmor=unconfined", "--security-opt systempaths=unconfined"
	for _, tc := range []struct {
		name  string
		place Place
		tried Tried
		cause string // a part
		fix   string // the beginning
	}{
		{"docker's defaults", Place{Engine: "docker", Seccomp: true, Covered: 7}, Tried{Namespaces: &os.PathError{Op: "fork/exec", Err: eperm}},
			"a docker container: its seccomp profile refuses user namespaces; it covers parts of /proc (7 mounts)", "start the container with " + seccomp + " " + unmask + " (the profile is /usr"},
		{"docker's defaults on Ubuntu", Place{Engine: "docker", Seccomp: true, Covered: 7, Label: "docker-default (enforce)"}, Tried{Namespaces: eperm},
			"AppArmor profile docker-default", "start the container with " + seccomp + " " + apparmor + " " + unmask + " ("},
		{"AppArmor is left", Place{Engine: "docker", Seccomp: true, Label: "docker-default (enforce)"}, Tried{Mount: eacces},
			"AppArmor profile docker-default (enforce) refuses mounts", "start the container with " + apparmor},
		{"SELinux", Place{Engine: "podman", Seccomp: true, Label: "system_u:system_r:container_t:s0:c1,c2"}, Tried{Mount: eacces}, "SELinux label", "start the container with --security-opt label=disable"},
		{"another module", Place{Engine: "podman"}, Tried{Root: eacces}, "a security module refuses mounts", "start the container with " + apparmor},
		{"root without capabilities", Place{Engine: "podman", Seccomp: true, Mapless: true}, Tried{Namespaces: eperm}, "no CAP_SETFCAP", "start the container with --user 1000"},
		{"/proc is left", Place{Engine: "docker", Seccomp: true, Covered: 7}, Tried{Proc: eperm}, "covers parts of /proc", "start the container with " + unmask},
		{"podman's defaults", Place{Engine: "podman", Seccomp: true, Covered: 5}, Tried{Hostname: eperm, Proc: eperm},
			"refuses sethostname; it covers", "start the container with " + seccomp + " --security-opt 'unmask=/proc/*' ("},
		{"a filter that knows no such call", Place{Engine: "podman", Seccomp: true}, Tried{Root: syscall.ENOSYS}, "refuses pivot_root", "start the container with " + seccomp},
		{"a filter of another engine", Place{Engine: "containerd", Seccomp: true}, Tried{Mount: eperm}, "a containerd container", "start the container with " + seccomp},
		{"kubernetes", Place{Engine: "kubernetes", Seccomp: true, Covered: 7}, Tried{Namespaces: eperm}, "a kubernetes container",
			"set securityContext.seccompProfile: {type: Localhost, localhostProfile: penstock-seccomp.json}, securityContext.procMount: Unmasked (with hostUsers: false in the pod) (the profile"},
		{"lxc", Place{Engine: "lxc", Covered: 3}, Tried{Proc: eperm}, "a lxc", "set security.nesting=true for this container"},
		{"nested", Place{Nested: true, Covered: 1}, Tried{Proc: eperm}, "a nested user namespace: it covers", "start penstock outside of it"},
		{"a user namespace of an engine's", Place{Engine: "podman", Nested: true, Covered: 1}, Tried{Proc: eperm}, "a podman container in a user namespace", "start the container with --security-opt 'unmask"},
		{"unshare without --mount-proc", Place{Foreign: true, Covered: 1}, Tried{Namespaces: eacces}, "a PID namespace: its /proc shows the processes of another", "unshare --mount-proc"},
		{"no /proc mount, nothing covered", Place{Engine: "docker"}, Tried{Proc: eperm}, "a /proc of the pen's own is refused", "start the container with " + unmask},
		{"namespaces switched off", Place{Engine: "docker", Covered: 0}, Tried{Namespaces: syscall.ENOSPC}, "", ""},
		{"all works", Place{Engine: "docker", Seccomp: true, Covered: 7}, Tried{}, "", ""},
		{"no container", Place{}, Tried{Proc: eperm}, "", ""},
	} {
		cause, fix := Explain(&tc.place, &tc.tried)
		if !strings.Contains(cause, tc.cause) || !strings.HasPrefix(fix, tc.fix) || (tc.fix == "") != (fix == "") || strings.ContainsAny(cause+fix, "\n") {
			t.Errorf("%s:\n%s\n%s", tc.name, cause, fix)
		}
		first := errors.New("first")
		err := Because(first, &tc.place, &tc.tried)
		var h interface{ Hint() string }
		if !errors.Is(err, first) || errors.As(err, &h) != (tc.fix != "") {
			t.Errorf("%s: %v", tc.name, err)
		}
		if h != nil && (h.Hint() != fix || err.Error() != "first: "+cause) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func ExampleExplain() {
	cause, fix := Explain(&Place{Engine: "podman", Seccomp: true, Covered: 5}, &Tried{Proc: syscall.EPERM})
	fmt.Println(cause)
	fmt.Println(fix)
	// Output:
	// this is a podman container: it covers parts of /proc (5 mounts), so that the kernel refuses a pen its own
	// start the container with --security-opt 'unmask=/proc/*'
}

package netns

import (
	"os"
	"strconv"
	"strings"

	"github.com/penstock/penstock/sandbox/container"
	"golang.org/x/sys/unix"
)

// failed is explain with the facts of this machine.
func failed(step Step, err error) *Error { return explain(step, err, readFacts()) }

// readFacts reads what explain needs. It is done only after a failure, and
// nothing that can't be read is an error.
func readFacts() Facts {
	f := Facts{
		UsernsClone:    sysctl("kernel/unprivileged_userns_clone"),
		MaxUserns:      sysctl("user/max_user_namespaces"),
		MaxNetns:       sysctl("user/max_net_namespaces"),
		AppArmorUserns: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
		ModulesOff:     sysctl("kernel/modules_disabled"),
		Seccomp:        -1,
		Root:           os.Geteuid() == 0,
	}
	if exe, err := os.Executable(); err == nil {
		f.Executable = exe
	}
	if status, err := readSmall("/proc/self/status"); err == nil {
		for line := range strings.Lines(status) {
			if v, ok := strings.CutPrefix(line, "Seccomp:"); ok {
				if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
					f.Seccomp = n
				}
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.Kernel = unix.ByteSliceToString(u.Release[:])
		_, err := os.Stat("/lib/modules/" + f.Kernel)
		f.ModuleDir = err == nil
	}
	f.Place = container.Read()
	return f
}

func sysctl(name string) int {
	v, err := readSmall("/proc/sys/" + name)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return -1
	}
	return n
}

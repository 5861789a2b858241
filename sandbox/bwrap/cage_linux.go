package bwrap

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/confine"
)

// cagePath is the PATH of a program in a cage.
const cagePath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin"

// Cage plans a program of the caller's that is to reach nothing: not a pen, whose
// hostile command is held until it is verified, but a place of its own with the same
// filter, without capabilities, in namespaces of its own, with a file system that is
// read-only but for memory. With network it has the host's. All of it ends with bwrap,
// and that with who started it.
//
// The caller starts the command, and then closes files; the program's standard streams
// are the command's.
func (b *Backend) Cage(mounts []sandbox.Mount, argv []string, uid, gid int, network bool) (cmd *exec.Cmd, files []*os.File, err error) {
	p, err := cageArguments(mounts, uid, gid, network, b.features, exists)
	if err != nil {
		return nil, nil, err
	}
	filter, err := confine.PenFilter(false)
	if err != nil {
		return nil, nil, err
	}
	var args bytes.Buffer
	for _, a := range p.args {
		args.WriteString(a)
		args.WriteByte(0)
	}
	for _, content := range [][]byte{args.Bytes(), filter} {
		f, err := memory(content)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, nil, err
		}
		files = append(files, f)
	}
	cmd = exec.Command(b.path, append([]string{"--args", strconv.Itoa(fdArgs), "--"}, argv...)...)
	cmd.Args[0] = "bwrap"
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{}, "/", files
	return cmd, files, nil
}

// cageArguments lays out the options of a cage.
func cageArguments(mounts []sandbox.Mount, uid, gid int, network bool, f features, present func(string) bool) (*plan, error) {
	p := &plan{}
	p.add("--unshare-user", "--uid", strconv.Itoa(uid), "--gid", strconv.Itoa(gid))
	p.add("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
	if !network {
		p.add("--unshare-net")
	}
	if f.disableUserns {
		p.add("--disable-userns")
	}
	p.add("--hostname", "hook", "--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv")
	p.add("--setenv", "PATH", cagePath, "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8")
	p.add("--seccomp", strconv.Itoa(fdSeccomp))
	for _, m := range mounts {
		err := checkPath(m.Target)
		if err == nil && m.Kind == sandbox.Bind {
			err = checkPath(m.Source)
		}
		if err != nil {
			return nil, fmt.Errorf("plan cage: %w", err)
		}
		p.mount(m)
	}
	p.kernel(&sandbox.Spec{UID: uid}, present)
	p.add("--chdir", "/")
	return p, nil
}

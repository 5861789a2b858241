package invariants

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// realBwrap is where the machine's own bwrap is found while another stands in
// its place: not in /tmp, which the builder may have covered by then.
const realBwrap = "/var/tmp/bwrap"

// TestInvariant09HeldUntilVerified: a sandbox that does something else than it
// was told builds a pen in which nothing is ever run. The one that does so is a
// script in bwrap's place, in the rig only.
func TestInvariant09HeldUntilVerified(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can put another bwrap in place: Penstock trusts root's alone")
	}
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		marker := filepath.Join(c.Home.Project, "it-ran")
		run := func(edit string) world.Result {
			replaceBwrap(t, edit)
			return c.Run(nil, "/bin/sh", "-c", "echo it ran; > it-ran")
		}
		// The counterpart: the same script, changing nothing.
		if r := run(":"); r.Code != 0 || r.Stdout != "it ran\n" {
			t.Fatalf("with nothing changed\n%s", r)
		}
		if err := os.Remove(marker); err != nil {
			t.Fatal(err)
		}
		for what, wrong := range map[string]struct{ edit, word string }{
			"an added mount":             {`add --ro-bind / /host`, "/host"},
			"a writable mount":           {`add --bind /var/tmp /mnt`, "/mnt"},
			"a system that is writable":  {`add --bind /usr /usr`, "/usr"},
			"another work directory":     {`add --tmpfs ` + c.Home.Project, c.Home.Project},
			"devices":                    {`add --dev-bind /dev /dev`, "/dev"},
			"the host's processes":       {`drop --unshare-pid 1`, "pid"},
			"the host's IPC":             {`drop --unshare-ipc 1`, "ipc"},
			"the host's name":            {`drop --unshare-uts 1; drop --hostname 2`, "uts"},
			"no system call filter":      {`drop --seccomp 2`, "seccomp"},
			"another network":            {`args+=(--unshare-net)`, "net"},
			"another user":               {`value --uid 4242`, "uid"},
			"another group":              {`value --gid 4242`, "gid"},
			"a capability":               {`args+=(--cap-add CAP_NET_RAW)`, "Cap"},
			"a root that can be written": {`drop --remount-ro 2`, "/"},
			"another program as shim":    {`add --ro-bind /bin/true /run/penstock/penstock`, ""},
		} {
			r := run(wrong.edit)
			if r.Code != 125 || r.Stdout != "" {
				t.Errorf("%s: want exit 125\n%s", what, r)
			}
			if !strings.Contains(r.Stderr, wrong.word) {
				t.Errorf("%s: the reason does not name %q\n%s", what, wrong.word, r)
			}
			if _, err := os.Lstat(marker); err == nil {
				t.Errorf("%s: the command ran\n%s", what, r)
				os.Remove(marker)
			}
		}
		records := c.Records("")
		if n := len(host.Types(records, "session_start")); n != 1 {
			t.Errorf("%d sessions are recorded as begun, want the unchanged one", n)
		}
		violations := 0
		for _, v := range host.Types(records, "violation") {
			if v.Text("kind") == "posture" && v.Text("action") == "killed" {
				violations++
			}
		}
		if violations < 13 {
			t.Errorf("%d violations are recorded", violations)
		}
	})
}

// replaceBwrap puts a script in bwrap's place that edits its arguments, until
// the test ends or replaces it again.
func replaceBwrap(t *testing.T, edit string) {
	t.Helper()
	bwrap := world.Tool(t, "bwrap")
	unix.Unmount(bwrap, unix.MNT_DETACH) // the one before, if any
	if _, err := os.Stat(realBwrap); err != nil {
		b, err := os.ReadFile(bwrap)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(realBwrap, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`#!/bin/bash
mapfile -d '' -u 3 args
# add puts a mount behind all others but before the root is closed.
add() { local i; for ((i = 0; i < ${#args[@]}; i++)); do
	if [ "${args[i]}" = --remount-ro ]; then args=("${args[@]:0:i}" "$@" "${args[@]:i}"); return; fi; done; exit 98; }
# drop takes the option $1 out, with its values: $2 arguments in all.
drop() { local i; for ((i = 0; i < ${#args[@]}; i++)); do
	if [ "${args[i]}" = "$1" ]; then args=("${args[@]:0:i}" "${args[@]:i+$2}"); return; fi; done; exit 98; }
# value gives the option $1 another value.
value() { local i; for ((i = 0; i < ${#args[@]}; i++)); do
	if [ "${args[i]}" = "$1" ]; then args[i+1]=$2; return; fi; done; exit 98; }
%s
shift 2 # --args 3
exec %s "${args[@]}" "$@"
`, edit, realBwrap)
	name := filepath.Join("/tmp/programs", "bwrap-script")
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(name, bwrap, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(bwrap, unix.MNT_DETACH) })
}

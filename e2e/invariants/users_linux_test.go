package invariants

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// twoUsers are two ordinary users of one machine, under its privileged supervisor.
func twoUsers(t *testing.T, w *world.World) (ann, bob *host.Caller, ok bool) {
	o, ok := world.Users()["supervised"]
	if !ok {
		return nil, nil, false // without root there is none
	}
	ann = host.NewCaller(t, w, o)
	o.Other = true
	bob = host.NewCaller(t, w, o)
	bob.Home.Share(ann.Home)
	return ann, bob, true
}

// TestUsersApart: what one user's commands, files and processes can do about
// another's session is nothing, and they don't say that it exists.
func TestUsersApart(t *testing.T) {
	w := world.New(t)
	ann, bob, ok := twoUsers(t, w)
	if !ok {
		return
	}
	w.HTTP("good.example.com", text("good"))
	ann.Rules, bob.Rules = []string{"{host: good.example.com}"}, []string{"{host: good.example.com}"}
	s, id, tool := held(t, ann)
	if r := bob.Run(nil, "/bin/true"); r.Code != 0 { // so that he has records
		t.Fatal(r)
	}
	own := bob.Sessions()
	const none = "20200101-000000-00000"
	for _, args := range [][]string{
		{"ps"}, {"ps", "--json"}, {"ps", "--all"}, {"top", "--count", "1"}, {"top", "--all", "--count", "1"},
		{"kill", id}, {"kill", id[:4]}, {"kill", "--all"}, {"freeze", id}, {"resume", id}, {"logs", id},
		{"audit", "ls"}, {"audit", "show", id}, {"audit", "show"}, {"audit", "export"}, {"audit", "verify"}, {"audit", "tail", id},
	} {
		r := bob.Other(args...)
		said := r.Stdout + r.Stderr
		for _, secret := range []string{ann.Home.Path, "good.example.com", "tool hold"} {
			if strings.Contains(said, secret) {
				t.Errorf("%v says %q\n%s", args, secret, r)
			}
		}
		if args[len(args)-1] != id {
			if strings.Contains(said, id) {
				t.Errorf("%v says that the session exists\n%s", args, r)
			}
			continue
		}
		// Of one that does not exist it says the same.
		args[len(args)-1] = none
		other := bob.Other(args...)
		if r.Code == 0 || r.Code != other.Code || strings.ReplaceAll(said, id, none) != other.Stdout+other.Stderr {
			t.Errorf("%v tells another's session from none\n%s\n%s", args, r, other)
		}
	}
	sup := ann.Home.Supervisor()
	daemon, proxy := s.Role(host.Daemon), s.Role(host.Proxy)
	sh := func(c *host.Caller, what, script string, args ...string) {
		t.Helper()
		r := c.StartCommand(c.Command(append([]string{"/bin/sh", "-c", script + " && echo DONE", "sh"}, args...)...)).Result()
		if strings.Contains(r.Stdout, "DONE") || r.Code == 0 {
			t.Errorf("%s can %s\n%s", filepath.Base(c.Home.Path), what, r)
		}
	}
	pids := func(list ...int) (out []string) {
		for _, p := range list {
			out = append(out, strconv.Itoa(p))
		}
		return out
	}
	for _, p := range pids(s.PID(), proxy, daemon, tool) {
		sh(bob, "signal "+p, `kill -9 "$1"`, p)
		sh(bob, "look into "+p, `ls /proc/"$1"/fd/ /proc/"$1"/cwd/ || cat /proc/"$1"/environ`, p)
		sh(bob, "enter "+p, `nsenter --target "$1" --net true`, p)
	}
	groups := 0
	for _, g := range sup.Groups() {
		if !strings.Contains(g, id) {
			continue
		}
		groups++
		// Nor can she herself, whose session it is.
		for _, c := range []*host.Caller{ann, bob} {
			sh(c, "join "+g, `echo $$ > "$1"/cgroup.procs`, g)
			sh(c, "leave it", `echo "$2" > "$(dirname "$1")"/cgroup.procs`, g, strconv.Itoa(tool))
			sh(c, "make a group in "+g, `mkdir "$1"/mine`, g)
		}
	}
	if groups == 0 {
		t.Error("the session has no control group: nothing was tried")
	}
	for _, c := range []*host.Caller{ann, bob} {
		for _, p := range pids(proxy, daemon) {
			sh(c, "signal "+p, `kill -9 "$1"`, p)
			sh(c, "look into "+p, `ls /proc/"$1"/fd/ || cat /proc/"$1"/environ`, p)
		}
		sh(c, "see the state", `ls "$1"`, sup.State)
		sh(c, "read a record by its path", `cat "$1"`, filepath.Join(ann.AuditDir(), id+".jsonl"))
		sh(c, "see the pins", `ls /sys/fs/bpf/"$1"`, sup.Name)
		sh(c, "replace the socket", `rm -f "$1"`, sup.Socket)
	}
	if len(bob.Sessions()) != len(own) {
		t.Error("bob's attempts made records")
	}
	fmt.Fprintln(s.Input(), "fetch http://good.example.com/")
	host.Until(t, "the session to go on", func() bool { return strings.Count(s.Out.String(), " 200 good") == 2 || s.Over() })
	// The counterpart: hers, and root's.
	if r := ann.Other("ps"); !strings.Contains(r.Stdout, id) {
		t.Errorf("she does not see her own session\n%s", r)
	}
	root := host.NewCaller(t, w, world.Options{Supervised: true})
	root.Home.Share(ann.Home)
	if r := root.Other("ps", "--all"); !strings.Contains(r.Stdout, id) {
		t.Errorf("root does not see it\n%s", r)
	}
	if r := ann.Other("kill", id[:len(id)-2]); r.Code != 0 {
		t.Errorf("she can't end her own session\n%s", r)
	}
	if code := s.Wait(); code != 137 {
		t.Errorf("exit %d, want 137\n%s", code, s.Err)
	}
}

// TestFloorForEverybody: the administrator's file binds every user, whatever the
// flags, the user's files, and a client that lies about them say. What stands in
// the place of the administrator's file for the client is a file that the
// supervisor does not read, so that the client is one that lies.
func TestFloorForEverybody(t *testing.T) {
	w := world.New(t)
	ann, bob, ok := twoUsers(t, w)
	if !ok {
		return
	}
	w.HTTP("good.example.com", text("good"))
	w.HTTP("outside.example.org", text("stolen"))
	evil := w.HTTP("evil.example.com", text("stolen"))
	sup := ann.Home.Supervisor()
	floor := func(content string) {
		t.Helper()
		if err := os.WriteFile(sup.Policy, []byte("version: 1\n"+content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := host.NewCaller(t, w, world.Options{Supervised: true})
	root.Home.Share(ann.Home)
	const outsideURL = "http://outside.example.org/"
	for _, c := range []*host.Caller{ann, bob, root} {
		c.NoPolicy = true
		name := strconv.Itoa(c.UID())
		files := layers(c)
		try := func(what, url, want string, flags ...string) {
			t.Helper()
			if got := status(t, c, url, flags...); got != want {
				t.Errorf("user %s: %s: %s of %s, want %s", name, what, got, url, want)
			}
		}
		floor("egress: {deny: [{host: evil.example.com}]}")
		for _, file := range append(files, filepath.Join(c.Home.Path, "named.yaml")) {
			gone := put(t, c, file, `egress: {default: allow, allow: [{host: "*"}]}`)
			flags := []string{"--trust-project", "--allow", "evil.example.com", "--allow", "good.example.com", "--mode", "audit"}
			if strings.HasSuffix(file, "named.yaml") {
				flags = append(flags, "--policy", file)
			}
			try("a deny against "+file, evilURL, "403", flags...)
			try("another name with "+file, goodURL, "200", flags...)
			gone()
		}
		floor(`egress: {deny: [{host: good.example.com, when: 'request.query.contains("token=")'}]}
hooks: [{name: root-s, on: [request], cel: 'request.query == "hook" ? "deny" : request.query == "size" && request.headers["x-none"] == "" ? "next" : "next"'}]`)
		for query, want := range map[string]string{"": "200", "?token=1": "403", "?hook": "403", "?size": "403"} {
			try("the administrator's condition and hook", goodURL+query, want, "--allow", "good.example.com", "--mode", "audit")
		}
		floor(`limits: {egress: ["*.example.com"], modes: [enforce], memory: 2GiB, pids: 512}`)
		// Limits of what the pen uses are bounds that it must have.
		within := func(sandbox, more string) []string {
			return []string{"--policy", c.Home.Write(t, "within.yaml", "version: 1\nsandbox: {"+sandbox+"}\n"+more)}
		}
		const bounded = "memory: 1GiB, pids: 256"
		try("within the limits", goodURL, "200", append(within(bounded, ""), "--allow", "good.example.com")...)
		for what, flags := range map[string][]string{
			"a host by a flag":      append(within(bounded, ""), "--allow", "outside.example.org"),
			"audit mode by a flag":  append(within(bounded, ""), "--mode", "audit"),
			"more memory":           within("memory: 4GiB, pids: 256", ""),
			"no bound of memory":    within("pids: 256", ""),
			"no bound of processes": within("memory: 1GiB", ""),
			"more processes":        within("memory: 1GiB, pids: 4096", ""),
			"a limit of his own":    within("memory: 4GiB, pids: 256", "limits: {memory: 64GiB}\n"),
		} {
			try(what, goodURL, "125", append(flags, "--allow", "good.example.com")...)
		}
		for _, content := range []string{
			`egress: {allow: [{host: outside.example.org}]}`, `egress: {default: allow}`, `egress: {allow: [{host: "*"}]}`,
			`limits: {egress: ["*"], modes: [audit, enforce], memory: 64GiB}` + "\n" + `egress: {allow: [{host: outside.example.org}]}`,
		} {
			for i, file := range files {
				want := "125"
				if i == 0 {
					want = "403" // what poses as the administrator's is dropped
				}
				gone := put(t, c, file, content)
				try(file+" says "+content, outsideURL, want, append(within(bounded, ""), "--trust-project")...)
				gone()
			}
		}
		os.Remove(sup.Policy)
		// The counterpart: it is the floor that denies.
		if c == root {
			try("without a floor", outsideURL, "200", "--allow", "outside.example.org")
		}
	}
	if evil.Hits() != 0 {
		t.Errorf("%d requests to what the floor denies arrived", evil.Hits())
	}
}

// TestFloorOfFiles: what the administrator's file says of files is looked up by the
// supervisor as the user would: a pen that shows what is hidden, by whatever name,
// or in which more can be written than may be, is not admitted.
func TestFloorOfFiles(t *testing.T) {
	w := world.New(t)
	ann, bob, ok := twoUsers(t, w)
	if !ok {
		return
	}
	sup := ann.Home.Supervisor()
	root := host.NewCaller(t, w, world.Options{Supervised: true})
	root.Home.Share(ann.Home)
	for _, c := range []*host.Caller{ann, bob, root} {
		c.NoPolicy = true
		home := c.Home.Path
		for name, content := range map[string]string{
			"hidden/key": "s", "hidden/deep/key": "s", "shown/file": "s", "shown/hidden/key": "s", "private/key": "s", "out/file": "s",
		} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			c.Home.Write(t, name, content)
		}
		if err := os.Symlink("shown", filepath.Join(home, "link")); err != nil {
			t.Fatal(err)
		}
		c.Home.Own(t)
		if err := os.Chmod(filepath.Join(home, "private"), 0); err != nil {
			t.Fatal(err)
		}
		at := func(p string) string { return filepath.Join(home, p) }
		for _, tt := range []struct {
			name, floor string
			flags       []string
			hint        string // of a refusal, "" for none
		}{
			{"nothing of it is there", "limits: {hide: [$/hidden]}", []string{"--read", at("shown")}, ""},
			{"there is no such thing", "limits: {hide: [$/none, /none/at/all]}", []string{"--read", at("shown")}, ""},
			{"it can't be reached", "limits: {hide: [$/private/key]}", []string{"--read", at("shown")}, ""},
			{"the pen hides it too", "limits: {hide: [$/shown/hidden]}", []string{"--read", at("shown"), "--hide", at("shown/hidden")}, ""},
			{"it is shown", "limits: {hide: [$/hidden]}", []string{"--read", at("hidden")}, "is in hidden"},
			{"it is hidden by the files' section", "filesystem: {hide: [$/hidden]}", []string{"--read", at("hidden")}, "hides"},
			{"what is above it is shown", "limits: {hide: [$/shown/hidden]}", []string{"--read", at("shown")}, "hides"},
			{"a part of it is shown", "limits: {hide: [$/hidden]}", []string{"--read", at("hidden/deep")}, "is in hidden"},
			{"a file of it is shown", "limits: {hide: [$/hidden]}", []string{"--read", at("hidden/key")}, "is in hidden"},
			{"a file that is hidden is shown", "limits: {hide: [$/shown/file]}", []string{"--read", at("shown")}, "hides"},
			{"a link leads to it", "limits: {hide: [$/link]}", []string{"--write", at("shown")}, "hides"},
			{"it is the work directory", "limits: {hide: [" + c.Home.Project + "]}", nil, "hides"},
			{"nothing may be written", "limits: {write: []}", []string{"--read", at("out")}, ""},
			{"what may be written is", "limits: {write: [$/out]}", []string{"--write", at("out")}, ""},
			{"what is below that is", "limits: {write: [$]}", []string{"--write", at("out")}, ""},
			{"something is written", "limits: {write: []}", []string{"--write", at("out")}, "outside limits.write"},
			{"something else is written", "limits: {write: [$/out]}", []string{"--write", at("shown")}, "outside limits.write"},
			{"a file is written", "limits: {write: [$/out]}", []string{"--write", at("shown/file")}, "outside limits.write"},
		} {
			content := strings.ReplaceAll(tt.floor, "$", home)
			if err := os.WriteFile(sup.Policy, []byte("version: 1\n"+content+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			r := c.Run(tt.flags, "/bin/true")
			switch {
			case tt.hint == "" && r.Code != 0:
				t.Errorf("user %d: %s: refused\n%s", c.UID(), tt.name, r)
			case tt.hint != "" && (r.Code != 125 || !strings.Contains(r.Stderr, sup.Policy+":2") || !strings.Contains(r.Stderr, tt.hint)):
				t.Errorf("user %d: %s: not refused, or not for that\n%s", c.UID(), tt.name, r)
			}
		}
		if err := os.Chmod(filepath.Join(home, "private"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(sup.Policy)
}

// TestFloorOfViolations: what the administrator's file wants done about a violation
// is done by the supervisor, whatever the caller's side knows of it.
func TestFloorOfViolations(t *testing.T) {
	w := world.New(t)
	ann, _, ok := twoUsers(t, w)
	if !ok {
		return
	}
	w.HTTPS("one.example.com", text("one"))
	w.HTTPS("two.example.com", text("two"))
	ann.Rules = []string{"{host: one.example.com}", "{host: two.example.com}"}
	sup := ann.Home.Supervisor()
	defer os.Remove(sup.Policy)
	start := func(action string) *host.Session {
		t.Helper()
		if err := os.WriteFile(sup.Policy, []byte("version: 1\nlimits: {on_violation: "+action+"}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		script := "read x; " + strings.Join(host.ToolCommand("misdirect", "one.example.com", "two.example.com", "clear.example.com"), " ") + "; read x; echo went on"
		s := ann.Start(nil, "/bin/sh", "-c", script)
		fmt.Fprintln(s.Input(), "begin")
		return s
	}
	s := start("kill")
	<-s.Exited()
	if code := s.Wait(); code != 137 || !strings.Contains(s.Err.String(), "violation: target-mismatch\n") {
		t.Errorf("exit %d, want 137\n%s", code, s.Err)
	}
	records := ann.Records("")
	if control := host.Types(records, "control"); len(control) == 0 || control[0].Text("action") != "kill" || control[0].Text("reason") != "violation: target-mismatch" {
		t.Errorf("recorded: %v", control)
	}
	if end := records[len(records)-1]; end.Text("type") != "session_end" || end.Text("reason") != "violation: target-mismatch" {
		t.Errorf("the end is %v", end)
	}

	s = start("freeze")
	host.Until(t, "the pen to be frozen", func() bool { return strings.Contains(ann.Other("ps").Stdout, " frozen ") || s.Over() })
	fmt.Fprintln(s.Input(), "go on")
	id := ann.Sessions()[len(ann.Sessions())-1]
	stopped := func() bool {
		for _, g := range sup.Groups() {
			text, err := os.ReadFile(filepath.Join(g, "cgroup.events"))
			if err == nil && strings.Contains(g, id) && strings.Contains(string(text), "frozen 1") {
				return true
			}
		}
		return false
	}
	if !stopped() {
		t.Error("nothing has stopped its control group")
	}
	host.Until(t, "it to say so", func() bool { return strings.Contains(s.Err.String(), "the pen is frozen") || s.Over() })
	// what it does after a resume may have it frozen again, up to its end
	host.Until(t, "it to end", func() bool {
		r := ann.Other("resume", id)
		refused := func(why string) bool { return strings.Contains(r.Stderr, why) }
		if r.Code != 0 && !refused("not frozen") && !refused("no running session") && !refused("the session is ending") {
			t.Errorf("it can't be resumed\n%s", r)
		}
		return s.Over()
	})
	if code := s.Wait(); code != 0 || !strings.Contains(s.Out.String(), "went on") {
		t.Errorf("exit %d\n%s\n%s", code, s.Out, s.Err)
	}
	if control := host.Types(ann.Records(id), "control"); len(control) < 2 || control[0].Text("action") != "freeze" ||
		!slices.ContainsFunc(control, func(r host.Record) bool { return r.Text("action") == "resume" }) {
		t.Errorf("recorded: %v", control)
	}
}

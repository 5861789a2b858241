package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// plants are attempts that an earlier session, or whoever wrote the repository,
// has left in the work directory for the next one to trip over.
func plants() []attempt {
	const c = "plants"
	return []attempt{
		{category: c, name: "a project's policy that nobody has approved", alone: unapproved},
		{category: c, name: "links to the home where a protected directory is expected", alone: planted("cat .vscode/id_ed25519 .idea/credentials .claude/notes.txt .opencode/notes.txt .husky/id_ed25519 .git/hooks/id_ed25519", func(s *scene) {
			s.remove(".git/hooks")
			for link, target := range map[string]string{".vscode": "../.ssh", ".idea": s.home.Path + "/.aws", ".claude": "..", ".opencode": s.home.Path, ".husky": "../project/../.ssh", ".git/hooks": "../../.ssh"} {
				s.link(target, link)
			}
		})},
		{category: c, name: "a .git file that names another directory", alone: planted("cat {home}/.ssh/id_ed25519 .git/id_ed25519 {home}/.ssh/../notes.txt", func(s *scene) {
			s.remove(".git")
			s.home.Write(s.t, "project/.git", "gitdir: "+s.home.Path+"/.ssh\n")
		})},
		{category: c, name: "a common directory of git that is another", alone: planted("cat {home}/.ssh/id_ed25519 {home}/notes.txt", func(s *scene) {
			s.home.Write(s.t, "project/.git/commondir", "../../.ssh\n")
			s.home.Write(s.t, "project/.git/gitdir", s.home.Path+"/.ssh\n")
		})},
		{category: c, name: "a work tree of git elsewhere", alone: planted("cat {home}/.ssh/id_ed25519 {home}/notes.txt {home}/.aws/credentials", func(s *scene) {
			s.home.Write(s.t, "project/.git/config", "[core]\n\tworktree = ../..\n\thooksPath = ../../.ssh\n[include]\n\tpath = ../../.aws/credentials\n")
		})},
		{category: c, name: "a link as the work directory's source", alone: planted("cat sub/id_ed25519 sub/../notes.txt", func(s *scene) { s.link("../.ssh", "sub") })},
		{category: c, name: "a pipe, an endless file and a loop where files are expected", control: without("it is about our own start"), alone: stall, outside: true},
		{category: c, name: "programs named like ours on the caller's PATH", alone: impostor},
	}
}

func (s *scene) remove(name string) {
	if err := os.RemoveAll(filepath.Join(s.home.Project, name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) link(target, name string) {
	if err := os.Symlink(target, filepath.Join(s.home.Project, name)); err != nil {
		s.t.Fatal(err)
	}
	s.home.Own(s.t)
}

// planted reads what the plants could have opened. A session that refuses to
// start has held too.
func planted(script string, plant func(*scene)) func(*testing.T, caller) (string, string) {
	return func(t *testing.T, o caller) (arrived, seen string) {
		s := small(t, o)
		plant(s)
		script := strings.ReplaceAll(script, "{home}", s.home.Path)
		p := s.home.Write(t, "policy.yaml", s.policy())
		r := s.w.Run(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--", "/bin/sh", "-c", script)
		if i := strings.Index(r.Stdout, hostSecret); i >= 0 {
			arrived = r.Stdout[i:]
		}
		if r := s.w.Run(s.home, s.o, "/bin/sh", "-c", script); !strings.Contains(r.Stdout, hostSecret) {
			t.Errorf("control: nothing can be read without a pen: %s", r)
		}
		return arrived, r.Stdout + r.Stderr
	}
}

func unapproved(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	s.w.Name("mark-of-plant.late.example", s.w.Address())
	s.home.Write(t, "project/.penstock.yaml", "version: 1\negress:\n  allow:\n    - host: \"*.late.example\"\n")
	p := s.home.Write(t, "policy.yaml", s.policy())
	run := func(flags ...string) bool {
		args := append([]string{world.Penstock(t), "run", "--policy", p}, flags...)
		s.result = s.w.Run(s.home, s.o, append(args, "--", s.tool, "act", "get", "GET", "http://mark-of-plant.late.example/")...)
		return s.w.Asked("mark-of-plant.late.example")
	}
	if run() {
		arrived = "the name was asked for"
	}
	seen = s.result.Stdout
	if arrived == "" && !run("--trust-project") {
		t.Errorf("control: approved, it does not count either: %s", s.result)
	}
	return arrived, seen
}

// stall leaves what a careless reader would wait for, for ever.
func stall(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	s.o.Timeout = 20 * time.Second
	p := s.home.Write(t, "policy.yaml", s.policy())
	for what, plant := range map[string]func(string) error{
		"a pipe":          func(n string) error { return unix.Mkfifo(n, 0o666) },
		"an endless file": func(n string) error { return os.Symlink("/dev/zero", n) },
		"a loop":          func(n string) error { return os.Symlink(filepath.Base(n), n) },
		"a large file": func(n string) error {
			f, err := os.Create(n)
			if err == nil {
				err = f.Truncate(1 << 40)
				f.Close()
			}
			return err
		},
	} {
		for _, name := range []string{".penstock.yaml", ".git", ".git/config", ".vscode", ".mcp.json"} {
			at := filepath.Join(s.home.Project, name)
			os.RemoveAll(at)
			os.MkdirAll(filepath.Dir(at), 0o755)
			if err := plant(at); err != nil {
				t.Fatal(err)
			}
			s.home.Own(t)
			if r := s.w.Run(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--", "/bin/true"); r.Code < 0 || r.Took > 15*time.Second {
				arrived += " " + what + " as " + name + " stops every start"
			}
			os.RemoveAll(at)
		}
	}
	return arrived, "every start ended"
}

// impostor puts programs of its own first on PATH.
func impostor(t *testing.T, o caller) (arrived, seen string) {
	s := small(t, o)
	ran := filepath.Join(s.home.Path, "impostor-ran")
	for _, name := range []string{"bwrap", "nft", "ip", "newuidmap", "newgidmap", "git", "getent", "id"} {
		s.home.Write(t, "project/bin/"+name, "#!/bin/sh\necho "+name+" >> "+ran+"\n")
		os.Chmod(filepath.Join(s.home.Project, "bin", name), 0o755)
	}
	p := s.home.Write(t, "policy.yaml", s.policy())
	s.o.Env = append(s.o.Env, "PATH="+s.home.Project+"/bin:./bin:/usr/bin:/bin")
	r := s.w.Run(s.home, s.o, world.Penstock(t), "run", "-q", "--policy", p, "--", "/bin/true")
	if b, err := os.ReadFile(ran); err == nil {
		arrived = "outside the pen ran: " + string(b)
	}
	s.w.Run(s.home, s.o, "/bin/sh", "-c", "bwrap")
	if _, err := os.Stat(ran); err != nil {
		t.Error("control: it does not run without a pen either")
	}
	return arrived, r.Stdout + r.Stderr
}

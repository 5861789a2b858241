package hostile

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// What only the host has. hostSecret begins every planted secret.
const (
	hostSecret = "host-secret-"
	realValue  = "real-value-5e8f31c07a"
)

// caller is who runs the attempts, and the tier that the pens are of: "" leaves it to
// penstock.
type caller struct {
	world.Options
	tier string
}

// scene is one run of the whole list, in a pen or without one.
type scene struct {
	t        *testing.T
	w        *world.World
	o        world.Options
	tier     string
	limit    string // one of the policy's, under sandbox
	home     *world.Home
	rig      string // a directory of the host that everybody may write to
	hostPort string // the host's loopback has it, no rule does
	openPort string // the host's loopback has it, and a rule
	tool     string
	net      *recorder
	host     *recorder
	shm      int         // key of a segment of the host's shared memory
	victims  map[int]int // processes of the host, by attempt
	running  map[int]*exec.Cmd

	// After the run.
	result  world.Result
	report  map[string]string
	packets []world.Packet
	queries []world.Query
	show    string // what our own commands print about the session
}

func newScene(t *testing.T, o caller) *scene {
	w := world.New(t)
	s := &scene{t: t, w: w, o: o.Options, tier: o.tier, home: w.NewHome(o.Options), net: newRecorder(t, w), host: newRecorder(t, w), victims: map[int]int{}, running: map[int]*exec.Cmd{}}
	s.o.Env = append([]string{"HOSTILE_KEY=" + realValue, "HOST_TOKEN=" + hostSecret + "env", "TERM=xterm"}, o.Env...)
	s.o.Timeout = 3 * time.Minute
	if o.tier == "microvm" {
		s.o.Env = append(s.o.Env, world.Microvm(t, s.home)...)
		s.o.Timeout = 8 * time.Minute
	}
	var err error
	if s.rig, err = os.MkdirTemp("", "penstock-hostile-"); err != nil {
		t.Fatal(err)
	}
	os.Chmod(s.rig, 0o1777)
	t.Cleanup(func() { os.RemoveAll(s.rig) })
	s.internet()
	s.services()
	s.plant()
	return s
}

// internet opens every server there is outside.
func (s *scene) internet() {
	any4 := netip.IPv4Unspecified()
	for port, kind := range map[uint16]string{80: "http", 443: "https", 8080: "http", 7000: "tcp", 853: "tcp", 40001: "tcp"} {
		s.net.serve(s.w.ListenAt(any4, port), kind)
	}
	s.w.Metadata()
	well := netip.MustParseAddr("198.51.101.250")
	for _, name := range []string{"good.example", "no.good.example", "loot.example", "paths.example", "raw.example", "pass.example", "secret.example", "deep.pass.example"} {
		s.w.Name(name, well)
	}
}

// services opens what listens on the host itself.
func (s *scene) services() {
	listen := func(network, addr string) net.Listener {
		ln, err := net.Listen(network, addr)
		if err != nil {
			s.t.Fatalf("listen on the host at %s: %v", addr, err)
		}
		return ln
	}
	addrs := []string{"127.0.0.1:80", "192.0.2.2:80"}
	if s.w.IPv6() {
		addrs = append(addrs, "[::1]:80", "[2001:db8:76::2]:80")
	}
	for _, a := range addrs {
		s.host.serve(listen("tcp", a), "http")
	}
	for _, port := range []*string{&s.hostPort, &s.openPort} {
		ln := listen("tcp", "127.0.0.1:0")
		*port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
		s.host.serve(ln, "http")
	}
	s.shm = 0x40000000 | os.Getpid() // the segments of all test processes are in one table
	id, err := unix.SysvShmGet(s.shm, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	s.home.Write(s.t, "run/docker.sock.d/note", "")
	for _, p := range []string{"@penstock-hostile-" + s.hostPort, filepath.Join(s.home.Path, "run/docker.sock"), filepath.Join(s.home.Project, "daemon.sock"), filepath.Join(s.rig, "X5")} {
		s.unix(listen("unix", p))
		if !strings.HasPrefix(p, "@") {
			os.Chmod(p, 0o777)
		}
	}
	s.home.Own(s.t)
}

// unix records what is said at a unix socket.
func (s *scene) unix(ln net.Listener) {
	s.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			v := &visit{sni: "unix " + ln.Addr().String()}
			s.host.mu.Lock()
			s.host.all = append(s.host.all, v)
			s.host.mu.Unlock()
			s.host.wg.Add(1)
			rc := &recorded{Conn: c, v: v, done: s.host.wg.Done}
			go func() { io.Copy(io.Discard, rc); rc.Close() }()
		}
	}()
}

// plant puts what a tool would look for where it would look for it.
func (s *scene) plant() {
	for name, content := range map[string]string{
		".ssh/id_ed25519": hostSecret + "ssh", ".config/penstock/policy.yaml": "version: 1\n# " + hostSecret + "policy\n",
		".local/state/penstock/planted": hostSecret + "state", ".local/share/penstock/planted": hostSecret + "data",
		".aws/credentials": hostSecret + "aws", ".bashrc": "# " + hostSecret + "bashrc\n", "notes.txt": hostSecret + "notes",
		"project/.git/HEAD": "ref: refs/heads/main\n", "project/.git/config": "[core]\n\trepositoryformatversion = 0\n",
		"project/.git/hooks/pre-commit": "#!/bin/sh\n", "project/.git/objects/info/x": "", "project/.git/refs/heads/x": "", "project/src/main.c": "int main;\n",
	} {
		s.home.Write(s.t, name, content)
	}
	os.Symlink("../notes.txt", filepath.Join(s.home.Project, "link-notes"))
	s.tool = filepath.Join(s.home.Project, "tool")
	b, err := os.ReadFile(tool(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.tool, b, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.home.Own(s.t)
}

var toolOnce struct {
	sync.Once
	path string
}

func tool(t testing.TB) string {
	toolOnce.Do(func() {
		toolOnce.path = world.Build(t, "hostile-tool", "github.com/penstock/penstock/e2e/hostile/tool")
	})
	return toolOnce.path
}

// policy is what the pen's attempts have to get round. Comments say which ones.
func (s *scene) policy() string {
	return fmt.Sprintf(`version: 1
environment: {proxy_variables: false%s}
secrets:
  - {name: HOSTILE_KEY, from: "env:HOSTILE_KEY", hosts: [secret.example], header: x-api-key}
egress:
  ca: [%s]
  allow:
    - host: loot.example
    - host: good.example
    - host: "*.good.example"
    - {host: paths.example, methods: [GET, POST], paths: ["/ok/**"]}
    - {host: raw.example, ports: [7000], protocol: tcp}
    - {host: "*.good.example", ports: [7000, 40001], protocol: tcp}
    - {host: pass.example, inspect: false}
    - host: secret.example
    - host: "*.rebind.example"
    - {cidr: 198.51.101.0/24, ports: [80, 443]}
    - {cidr: 198.51.103.0/24, ports: [80, 443]}
    - {host: host.penstock.internal, ports: [%s]}
  deny:
    - host: no.good.example
%s`, s.patience(), s.w.CA(), s.openPort, s.sandbox())
}

// sandbox is the policy's section of that name.
func (s *scene) sandbox() string {
	var out []string
	if s.tier != "" {
		out = append(out, "tier: "+s.tier)
	}
	if s.limit != "" {
		out = append(out, s.limit)
	}
	if out == nil {
		return ""
	}
	return "sandbox: {" + strings.Join(out, ", ") + "}\n"
}

// targets makes names lead somewhere and starts the host's processes.
func (s *scene) targets(aims []*aim) {
	for _, m := range aims {
		s.w.Name(m.own, m.addr)
		for _, n := range m.expand(s, m.names) {
			s.w.Name(n, m.addr)
		}
		if len(m.answers) > 0 {
			var addrs []netip.Addr
			for _, a := range m.expand(s, m.answers) {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			s.w.NameFunc(m.id+".rebind.example", func(asked int) []netip.Addr { return addrs[min(asked, len(addrs)-1):][:1] })
		}
		if strings.Contains(strings.Join(m.do, " "), "{victim}") {
			cmd := s.victim()
			s.victims[m.n], s.running[m.n] = cmd.Process.Pid, cmd
			s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		}
	}
}

// alive says whether a process of ours is still running: one that was killed is
// a zombie until we wait for it.
func (s *scene) alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// run runs the attempts, in a pen or without.
func (s *scene) run(aims []*aim, pen bool) {
	s.targets(aims)
	type task struct {
		ID  string   `json:"id"`
		Do  []string `json:"do"`
		Env []string `json:"env,omitempty"`
	}
	var tasks []task
	for _, m := range aims {
		tasks = append(tasks, task{m.id, m.expand(s, m.do), m.expand(s, m.env)})
	}
	width := 8
	if s.tier == "microvm" {
		width = 16 // most of them wait, and longer
	}
	b, err := json.Marshal(map[string]any{"loot": "http://loot.example/loot/", "width": width, "tasks": tasks})
	if err != nil {
		s.t.Fatal(err)
	}
	s.home.Write(s.t, "project/script.json", string(b))
	argv := []string{s.tool, "batch", "script.json"}
	if pen && s.tier == "microvm" {
		// What is executed from a directory of the host's is read again each time.
		argv = []string{"/bin/sh", "-c", `cp "$1" "$2" && exec "$2" batch script.json`, "sh", s.tool, s.memory() + "/tool"}
	}
	if pen {
		policy := s.home.Write(s.t, "policy.yaml", s.policy())
		argv = append([]string{world.Penstock(s.t), "run", "--policy", policy, "--"}, argv...)
	}
	s.result = s.w.Run(s.home, s.o, argv...)
	s.collect()
}

// collect gathers what arrived.
func (s *scene) collect() {
	s.net.settle()
	s.host.settle()
	s.packets, s.queries = s.w.Outside(), s.w.Queries()
	s.report = map[string]string{}
	for l := range strings.Lines(s.result.Stdout) {
		var line struct{ ID, Out string }
		if json.Unmarshal([]byte(l), &line) == nil {
			s.report[line.ID] = line.Out
		}
	}
	s.net.mu.Lock()
	for id, text := range s.net.loot {
		// One with a placeholder in it was stopped on its way.
		if len(text) > len(s.report[id]) {
			s.report[id] = text
		}
	}
	s.net.mu.Unlock()
}

// changed looks for the mark in every file of the host that a pen may not
// change, and for set-id bits and devices in all.
func (s *scene) changed(mark string) (found string) {
	for _, root := range []string{s.home.Path, s.rig} {
		filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || found != "" {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			rel, _ := filepath.Rel(s.home.Path, p)
			if strings.Contains(rel, mark) && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeDevice) != 0 {
				found = "mode " + info.Mode().String() + " on " + rel
			}
			if writable(rel) || d.IsDir() && !strings.Contains(d.Name(), mark) {
				return nil
			}
			text := d.Name()
			if target, err := os.Readlink(p); err == nil {
				text += target
			} else if info.Mode().IsRegular() {
				b, _ := os.ReadFile(p)
				text += string(b)
			}
			if strings.Contains(text, mark) {
				found = "host file " + rel
			}
			return nil
		})
	}
	return found
}

// writable says which of the home's files a pen may change, or that are ours
// and hold what it said.
func writable(rel string) bool {
	if strings.HasPrefix(rel, ".local/state/penstock/audit/") || strings.HasPrefix(rel, ".cache/") {
		return true
	}
	in, ok := strings.CutPrefix(rel, "project/")
	if !ok {
		return rel == "project" || rel == "."
	}
	for _, p := range []string{".git/hooks", ".git/config", ".git/commondir", ".penstock.yaml", ".vscode", ".husky", ".claude", ".idea"} {
		if in == p || strings.HasPrefix(in, p+"/") {
			return false
		}
	}
	return true
}

// victim starts a process of the host. Its number is none that a process of a pen has
// too: those begin with 1.
func (s *scene) victim() *exec.Cmd {
	s.t.Helper()
	for {
		cmd := s.w.Command(s.home, s.o, "/bin/sleep", "600")
		if err := world.Start(cmd); err != nil {
			s.t.Fatal(err)
		}
		if cmd.Process.Pid > 5000 {
			return cmd
		}
		cmd.Process.Kill()
		cmd.Wait() //nolint:errcheck // it was killed
	}
}

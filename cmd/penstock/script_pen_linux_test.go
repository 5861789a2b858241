package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/penstock/penstock/supervisor/registry"
)

// The scripts that build pens (run_*, ps_*, publish_*) run the real binary: the
// test binary may be linked with C, which the roles refuse. Their pens reach
// servers of this process on the loopback and nothing else.

// realBinary returns a directory that holds the binary as "penstock": the one of
// $PENSTOCK_BIN, else one that is built here.
func realBinary(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "penstock")
	if bin := os.Getenv("PENSTOCK_BIN"); bin != "" {
		if err := os.Symlink(bin, out); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, msg)
	}
	return dir
}

// penConditions adds [pens]: a pen can be built here, and where CI is set it
// must; [root]; and [ipv6]: the host has a loopback of that kind.
func penConditions(cond string) (bool, error) {
	switch cond {
	case "pens":
	case "root":
		return os.Getuid() == 0, nil
	case "ipv6":
		l, err := net.Listen("tcp", "[::1]:0")
		if err == nil {
			l.Close()
		}
		return err == nil, nil
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if _, err := exec.LookPath("bwrap"); err != nil {
		if os.Getenv("CI") != "" {
			return false, errors.New("bwrap is missing: apt-get install bubblewrap")
		}
		return false, nil
	}
	return true, nil
}

// penCommands are what a shell lacks for these scripts. None of them sleeps.
func penCommands(in map[string]func(*testscript.TestScript, bool, []string)) map[string]func(*testscript.TestScript, bool, []string) {
	in["fifo"], in["await"], in["tell"], in["question"] = fifo, await, tell, question
	in["serve"], in["get"], in["occupy"] = serve, get, occupy
	in["capture"], in["session"], in["parallel"], in["same-lines"] = capture, session, parallel, sameLines
	return in
}

// penPrograms are programs for inside a pen: this binary under other names.
func penPrograms() map[string]func() {
	return map[string]func(){"penstock": main, "pen-serve": penServe, "pen-get": penGet, "pen-lie": penLie}
}

// fifo NAME makes a named pipe, by which a script and a pen wait for each other.
func fifo(ts *testscript.TestScript, neg bool, args []string) {
	for _, a := range args {
		ts.Check(syscall.Mkfifo(ts.MkAbs(a), 0o600))
	}
}

// openFifo opens a pipe for both directions, so that neither end waits for the
// other to be opened: a pen that failed must not hold up the script.
func openFifo(ts *testscript.TestScript, name string) *os.File {
	f, err := os.OpenFile(ts.MkAbs(name), os.O_RDWR|syscall.O_NONBLOCK, 0)
	ts.Check(err)
	return f
}

// await NAME waits until somebody has written a line to the pipe.
func await(ts *testscript.TestScript, neg bool, args []string) {
	f := openFifo(ts, args[0])
	defer f.Close()
	ts.Check(f.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := f.Read(make([]byte, 64))
	ts.Check(err)
}

// question VAR NAME waits until a run that writes its stderr to the pipe says that
// it asks, and puts the question's identifier into VAR.
func question(ts *testscript.TestScript, neg bool, args []string) {
	f := openFifo(ts, args[1])
	ts.Defer(func() { f.Close() }) // the run must find a reader to its end
	ts.Check(f.SetReadDeadline(time.Now().Add(time.Minute)))
	said := regexp.MustCompile(`\(question (\S+)\)$`)
	var line []byte
	for one := make([]byte, 1); ; { // no byte more: the rest is the next call's
		_, err := f.Read(one)
		ts.Check(err)
		if one[0] != '\n' {
			line = append(line, one[0])
			continue
		}
		if m := said.FindSubmatch(line); m != nil {
			ts.Setenv(args[0], string(m[1]))
			return
		}
		line = line[:0]
	}
}

// tell NAME lets somebody who reads a line from the pipe go on.
func tell(ts *testscript.TestScript, neg bool, args []string) {
	f := openFifo(ts, args[0])
	ts.Defer(func() { f.Close() }) // a line that nobody has read yet goes with the last descriptor
	_, err := f.WriteString("go\n")
	ts.Check(err)
}

// serve VAR [ADDR] starts a server on the host's loopback, and puts its port into VAR.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	l := listen(ts, args)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "the host at %s\n", r.URL.Path)
	})}
	go srv.Serve(l)
	ts.Defer(func() { srv.Close() })
}

// occupy VAR [ADDR] takes a port and answers nobody.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	l := listen(ts, args)
	ts.Defer(func() { l.Close() })
}

func listen(ts *testscript.TestScript, args []string) net.Listener {
	addr := "127.0.0.1:0"
	if len(args) > 1 {
		addr = args[1]
	}
	l, err := net.Listen("tcp", addr)
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	return l
}

// get URL REGEXP wants a body that matches, or with ! no answer at all.
func get(ts *testscript.TestScript, neg bool, args []string) {
	body, err := fetch(args[0])
	if neg {
		if err == nil {
			ts.Fatalf("%s answers %q", args[0], body)
		}
		return
	}
	ts.Check(err)
	if !regexp.MustCompile(args[1]).MatchString(body) {
		ts.Fatalf("%s answers %q", args[0], body)
	}
}

func fetch(url string) (string, error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, b), err
}

// capture VAR REGEXP FILE puts the first group's match in a file (or in stdout,
// stderr) into VAR.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile(args[2]))
	if m == nil {
		ts.Fatalf("no %s in %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}

// session VAR DIR puts the id of the session that runs in a work directory into
// VAR; with ! none may run there.
func session(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := filepath.EvalSymlinks(ts.MkAbs(args[1]))
	ts.Check(err)
	list, err := registry.List()
	ts.Check(err)
	for _, s := range list {
		if s.Workdir != dir {
			continue
		}
		if neg {
			ts.Fatalf("session %s runs in %s", s.Session, dir)
		}
		ts.Setenv(args[0], s.Session)
		return
	}
	if !neg {
		ts.Fatalf("no session runs in %s", dir)
	}
}

// parallel N FILE PROGRAM [ARG…] runs N processes at once, all of which must
// succeed, and writes what they printed to FILE. A % in an argument is the
// process's number.
func parallel(ts *testscript.TestScript, neg bool, args []string) {
	var n int
	_, err := fmt.Sscan(args[0], &n)
	ts.Check(err)
	self, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), ":")[0], args[2]))
	ts.Check(err)
	var all sync.WaitGroup
	outs := make([]strings.Builder, n)
	errs := make([]error, n)
	for i := range n {
		cmd := exec.Command(self, args[3:]...)
		for j := range cmd.Args {
			cmd.Args[j] = strings.ReplaceAll(cmd.Args[j], "%", fmt.Sprint(i))
		}
		cmd.Dir = ts.MkAbs(".")
		for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
		all.Go(func() { errs[i] = cmd.Run() })
	}
	all.Wait()
	var b strings.Builder
	for i := range outs {
		if errs[i] != nil {
			ts.Fatalf("process %d: %v\n%s", i, errs[i], outs[i].String())
		}
		b.WriteString(outs[i].String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o600))
}

// same-lines N REGEXP FILE wants N different lines of a file to match.
func sameLines(ts *testscript.TestScript, neg bool, args []string) {
	re, seen := regexp.MustCompile(args[1]), map[string]bool{}
	for line := range strings.Lines(ts.ReadFile(args[2])) {
		if line = strings.TrimSuffix(line, "\n"); re.MatchString(line) {
			seen[line] = true
		}
	}
	if fmt.Sprint(len(seen)) != args[0] {
		ts.Fatalf("%d different lines match %s in\n%s", len(seen), args[1], ts.ReadFile(args[2]))
	}
}

// penServe ADDR PIPE serves one request after another until a GET of /quit; a
// line in PIPE says that it is up.
func penServe() {
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[2], []byte("up\n"), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			c.Close()
			continue
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthe pen at %s\n", r.URL.Path)
		c.Close()
		if r.URL.Path == "/quit" {
			os.Exit(0)
		}
	}
}

// penGet URL… prints status and body of each.
func penGet() {
	for _, url := range os.Args[1:] {
		body, err := fetch(url)
		if err != nil {
			body = "error: " + err.Error()
		}
		fmt.Println(strings.TrimSpace(body))
	}
}

// penLie ADDR asks who is there for what is elsewhere, and prints the answer's
// first line.
func penLie() {
	c, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	line, _ := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
}

package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// project makes a home with a repository in it and returns a shell for it, in
// which penstock is the real binary.
func project(t *testing.T) func(script string) *exec.Cmd {
	t.Helper()
	if ok, err := penConditions("pens"); err != nil {
		t.Fatal(err)
	} else if !ok {
		t.Skip("needs bubblewrap")
	}
	bin := realBinary(t)
	home := t.TempDir()
	dir := filepath.Join(home, "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	shell := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home, "USER=me", "TERM=dumb", "LC_ALL=C.UTF-8"}
		return cmd
	}
	if out, err := shell(`
git config --global user.name Me; git config --global user.email me@example.com; git config --global init.defaultBranch main
git init -q; echo begin >README
cat >tidy.sh <<'TIDY'
echo tidy >README; git commit -qam tidy
mkdir .husky; echo 'npm test' >.husky/pre-commit; echo '{}' >package.json
TIDY
git add .; git commit -qm begin`).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return shell
}

// TestWorktreesDocument runs the commands of docs/worktrees.md, one after the
// other, and finds in what they print what the document says.
func TestWorktreesDocument(t *testing.T) {
	shell := project(t)
	doc, err := os.ReadFile("../../docs/worktrees.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	commands := fenced(string(doc), "sh")
	for _, line := range slices.Sorted(maps.Keys(commands)) {
		script.WriteString(commands[line])
	}
	out, err := shell(script.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// What differs each time.
	plain := strings.NewReplacer(filepath.Dir(shell("").Dir)+"/", "/home/me/")
	commit := regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	copied := regexp.MustCompile(`\bcopy sh-[a-z0-9]{4}\b`)
	same := func(s string) string {
		return copied.ReplaceAllString(commit.ReplaceAllString(plain.Replace(s), "COMMIT"), "COPY")
	}
	printed := same(string(out))
	said := fenced(string(doc), "text")
	if len(said) < 3 || len(commands) < 2 {
		t.Fatalf("found %d commands and %d answers in the document", len(commands), len(said))
	}
	for line, block := range said {
		if !strings.Contains(printed, same(block)) {
			t.Errorf("docs/worktrees.md:%d: not printed:\n%s\nbut:\n%s", line, same(block), printed)
		}
	}
}

// TestWorktreeAsks: on a terminal the user says what is done with a worktree; what
// was typed before the question is no answer.
func TestWorktreeAsks(t *testing.T) {
	shell := project(t)
	for _, c := range []struct{ answer, want, then string }{
		{"merge\r", "merged penstock/", "test $(cat README) = merge; ! git show-ref | grep penstock/"},
		{"d\r", "discarded penstock/", "test $(cat README) = merge; ! git show-ref | grep penstock/"},
		{"\r", "worktree kept", "test $(cat README) = merge; git show-ref | grep -q penstock/; penstock worktree ls | grep -q kept"},
		{"yes please\r", "worktree kept", ""},
		{"\x04", "worktree kept", ""}, // end of file
		// An interrupt. The terminal drops what is printed while it handles the key.
		{"\x03", "", "test $(penstock worktree ls | grep -c ' kept ') = 4"},
	} {
		word := strings.Trim(c.answer, "\r\x03\x04")
		seen, err := answered(t, shell(`exec penstock run --worktree -- sh -c 'echo "`+word+`" >README'`), "merge, discard or keep it? [keep] ", c.answer)
		if err != nil || !strings.Contains(seen, c.want) {
			t.Errorf("%q: %v\n%s", c.answer, err, seen)
		}
		if out, err := shell(c.then).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", c.answer, err, out)
		}
	}
}

// answered runs a command on a terminal of its own and answers its question. What was
// typed before that is no answer.
func answered(t *testing.T, cmd *exec.Cmd, question, answer string) (string, error) {
	t.Helper()
	master, slave := openPTY(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if _, err := master.WriteString("d\r"); err != nil { // typed ahead, for the command
		t.Fatal(err)
	}
	var seen bytes.Buffer
	b := make([]byte, 4096)
	master.SetReadDeadline(time.Now().Add(time.Minute))
	for asked := false; ; {
		n, err := master.Read(b)
		seen.Write(b[:n])
		if !asked && strings.Contains(seen.String(), question) {
			asked = true
			if _, err := master.WriteString(answer); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	return seen.String(), cmd.Wait()
}

// TestCopyAsks: so is what is done with a copy.
func TestCopyAsks(t *testing.T) {
	shell := project(t)
	const all = "test $(penstock copy ls | wc -l) = "
	for _, c := range []struct{ answer, want, then string }{
		{"bring\r", "brought 1 change into ", "test $(cat README) = bring; " + all + "1"},
		{"d\r", "discarded copy ", "test $(cat README) = bring; " + all + "1"},
		{"\r", "copy kept", "test $(cat README) = bring; " + all + "2"},
		{"merge\r", "copy kept", all + "3"}, // of a worktree
		{"b\r", "brought 1 change into ", "test $(cat README) = b; " + all + "3"},
		{"\x03", "", "test $(cat README) = b; " + all + "4"},
	} {
		word := strings.Trim(c.answer, "\r\x03")
		seen, err := answered(t, shell(`exec penstock run --copy -- sh -c 'echo "`+word+`" >README'`), "bring, discard or keep it? [keep] ", c.answer)
		if err != nil || !strings.Contains(seen, c.want) {
			t.Errorf("%q: %v\n%s", c.answer, err, seen)
		}
		if out, err := shell(c.then).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", c.answer, err, out)
		}
	}
}

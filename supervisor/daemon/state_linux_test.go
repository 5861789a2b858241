package daemon

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// stateMain opens a state directory, and starts a child that holds what is open
// there, as one has it between its fork and its exec. It prints the child's number.
func stateMain(dir string) int {
	st, err := openState(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	child := exec.Command("/bin/sleep", "1000")
	child.ExtraFiles = []*os.File{st.lock}
	if err := child.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(child.Process.Pid)
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // until it is killed
	return 0
}

// TestOneStateOneDaemon: a state directory is one daemon's while that lives, and no
// longer, whoever else holds its files.
func TestOneStateOneDaemon(t *testing.T) {
	root(t)
	dir := filepath.Join(t.TempDir(), "state")
	cmd := exec.Command(plain(t), "role:test-state", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	child, aerr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || aerr != nil {
		t.Fatalf("it says %q, %v", line, err)
	}
	defer syscall.Kill(child, syscall.SIGKILL)
	if st, err := openState(dir); err == nil || !strings.Contains(err.Error(), "another supervisor runs with "+dir) {
		t.Errorf("two with one state: %v, %v", st, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if dead(child) {
		t.Fatal("the child is gone")
	}
	st, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	st.close()
}

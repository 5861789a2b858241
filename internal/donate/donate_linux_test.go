package donate

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// config is what the child of these tests gets.
type config struct {
	Word   string `json:"word"`
	Secret string `json:"secret"`
}

// child is the receiving role, in a process of its own.
const child = "DONATE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(child) {
	case "":
		os.Exit(m.Run())
	case "parent":
		parent()
	}
	if err := receive(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func receive() error {
	var c config
	files, err := Receive(&c)
	if err != nil {
		return err
	}
	for _, f := range files {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil {
			return err
		}
		if flags&unix.FD_CLOEXEC == 0 {
			return fmt.Errorf("%s is inherited by what this role starts", f.Name())
		}
	}
	text, err := io.ReadAll(files["b"])
	if err != nil {
		return err
	}
	fmt.Printf("%s %d %s\n", c.Word, len(files), text)
	return nil
}

// start runs the child with the given descriptors from 3 on.
func start(t *testing.T, extra []*os.File) (string, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.ExtraFiles = extra
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func content(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRoleReceivesWhatWasGiven(t *testing.T) {
	extra, err := Files(config{Word: "hello"}, map[string]*os.File{"a": content(t, "A"), "b": content(t, "B"), "c": content(t, "C")})
	if err != nil {
		t.Fatal(err)
	}
	defer extra[0].Close()
	out, err := start(t, extra)
	if err != nil || out != "hello 3 B\n" {
		t.Errorf("child: %q, %v", out, err)
	}
}

// TestConfigurationIsSealed: the sender can't change what the role reads later.
func TestConfigurationIsSealed(t *testing.T) {
	extra, err := Files(config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer extra[0].Close()
	if _, err := extra[0].WriteAt([]byte("x"), 0); err == nil {
		t.Error("the configuration can be written")
	}
	if err := extra[0].Truncate(1); err == nil {
		t.Error("the configuration can be cut")
	}
}

// TestNothingShows: the configuration is in no argument and no variable.
func TestNothingShows(t *testing.T) {
	extra, err := Files(config{Secret: "s3cr3t-value"}, map[string]*os.File{"b": content(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	defer extra[0].Close()
	cmd := exec.Command("/bin/cat", "/proc/self/cmdline", "/proc/self/environ")
	cmd.ExtraFiles = extra
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "s3cr3t") {
		t.Error("the configuration shows in /proc")
	}
}

func TestRefusals(t *testing.T) {
	if _, err := Files(config{}, map[string]*os.File{"a": nil}); err == nil {
		t.Error("a missing file is donated")
	}
	if _, err := Files(make(chan int), nil); err == nil {
		t.Error("a configuration that can't be encoded is donated")
	}
	if out, err := start(t, nil); err == nil {
		t.Errorf("a role without a configuration starts: %q", out)
	}
	if out, err := start(t, []*os.File{content(t, "not JSON")}); err == nil {
		t.Errorf("a role with a broken configuration starts: %q", out)
	}
}

// TestUnlinkedForAChild: a child that receives such a file has configuration and files
// as from a sealed one.
func TestUnlinkedForAChild(t *testing.T) {
	f, err := unlinked(t.TempDir(), []byte(`{"names":["b"],"config":{"word":"hello"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if out, err := start(t, []*os.File{f, content(t, "text")}); err != nil || out != "hello 1 text\n" {
		t.Errorf("%q, %v", out, err)
	}
}

package ca

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// goClient as first argument makes the test binary a client written in Go.
const goClient = "client:go"

// TestMain lets the test binary be one of a hundred first runs, or a client.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == goClient {
		for _, u := range os.Args[2:] {
			r, err := http.Get(u)
			if err != nil {
				os.Stderr.WriteString(err.Error())
				os.Exit(1)
			}
			io.Copy(os.Stdout, r.Body)
		}
		os.Exit(0)
	}
	if dir := os.Getenv("PENSTOCK_TEST_CA_DIR"); dir != "" {
		f, err := LoadOrCreate(dir)
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		if _, err := New(f.Certificate, f.Key); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.Write(f.Certificate)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestFirstRunsAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "penstock", "ca")
	const n = 100
	out := make([][]byte, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PENSTOCK_TEST_CA_DIR="+dir)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			var err error
			if out[i], err = cmd.Output(); err != nil {
				t.Errorf("%v: %s", err, stderr.Bytes())
			}
		})
	}
	wg.Wait()
	for i := range out {
		if len(out[i]) == 0 || !bytes.Equal(out[i], out[0]) {
			t.Fatal("first runs got different authorities")
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		switch e.Name() {
		case CertFile, KeyFile, lockFile:
		default:
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := filepath.Join(t.TempDir(), "ca")
	f, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, CertFile): 0o644, filepath.Join(dir, KeyFile): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", path, fi.Mode(), err, want)
		}
	}
}

// TestDamage breaks an authority in each way, and wants an error that names the
// file and the fix; and that rotate, when it is the fix, repairs it.
func TestDamage(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes and links")
	}
	path := filepath.Join
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
		want   string
		hint   string
	}{
		{"key readable by the group", func(d string) error { return os.Chmod(path(d, KeyFile), 0o640) }, "others may read", "chmod 600"},
		{"key readable by all", func(d string) error { return os.Chmod(path(d, KeyFile), 0o604) }, "others may read", "chmod 600"},
		{"key a link", func(d string) error {
			os.Rename(path(d, KeyFile), path(d, "k"))
			return os.Symlink("k", path(d, KeyFile))
		}, "symbolic link", "rotate"},
		{"key gone", func(d string) error { return os.Remove(path(d, KeyFile)) }, "missing", "rotate"},
		{"key empty", func(d string) error { return os.Truncate(path(d, KeyFile), 0) }, "0 bytes", "rotate"},
		{"key a directory", func(d string) error {
			os.Remove(path(d, KeyFile))
			return os.Mkdir(path(d, KeyFile), 0o700)
		}, "not a regular file", ""},
		{"certificate empty", func(d string) error { return os.Truncate(path(d, CertFile), 0) }, "empty", "rotate"},
		{"certificate cut", func(d string) error { return os.Truncate(path(d, CertFile), 100) }, "not PEM", "rotate"},
		{"certificate a link", func(d string) error {
			os.Rename(path(d, CertFile), path(d, "c"))
			return os.Symlink("c", path(d, CertFile))
		}, "symbolic link", "rotate"},
		{"certificate writable", func(d string) error { return os.Chmod(path(d, CertFile), 0o666) }, "others may write", "chmod 644"},
		{"directory writable", func(d string) error { return os.Chmod(d, 0o770) }, "others may write", "chmod 700"},
		{"directory a link", func(d string) error {
			os.Rename(d, d+".real")
			return os.Symlink(d+".real", d)
		}, "symbolic link", "directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := path(t.TempDir(), "ca")
			f, err := LoadOrCreate(dir)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err = LoadOrCreate(dir)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(e.Hint(), tt.hint) || !strings.HasPrefix(e.Path, dir) {
				t.Fatalf("got %v (hint %q), want %q", err, e, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Error("more than one line")
			}
			if tt.hint == "rotate" {
				if err := Rotate(dir); err != nil {
					t.Fatalf("rotate: %v", err)
				}
				if _, err := use(LoadOrCreate(dir)); err != nil {
					t.Errorf("after rotate: %v", err)
				}
			}
		})
	}
}

// use proves that key and certificate belong together.
func use(f *Files, err error) (*tls.Certificate, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := New(f.Certificate, f.Key)
	if err != nil {
		return nil, err
	}
	return a.Leaf("a.example")
}

// TestInterrupted leaves what a crash at each step of create leaves.
func TestInterrupted(t *testing.T) {
	for _, first := range []bool{true, false} {
		for step := range 4 {
			dir := filepath.Join(t.TempDir(), "ca")
			if err := makeDir(dir); err != nil {
				t.Fatal(err)
			}
			if !first {
				f, err := LoadOrCreate(dir)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			cert, key, _ := generate(time.Now())
			cp, kp := filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)
			steps := []func() error{
				func() error { return os.WriteFile(kp+newFile, key[:10], 0o600) }, // cut off while writing
				func() error { return os.WriteFile(kp+newFile, key, 0o600) },
				func() error { return os.WriteFile(cp+newFile, cert, 0o644) },
				func() error { return os.Rename(kp+newFile, kp) },
			}
			for _, s := range steps[:step+1] {
				if err := s(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := use(LoadOrCreate(dir)); err != nil {
				t.Errorf("first %v, step %d: %v", first, step, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*"+newFile)); first && len(left) != 0 || step == 3 && len(left) != 0 {
				t.Errorf("first %v, step %d: left behind %v", first, step, left)
			}
			if err := Rotate(dir); err != nil {
				t.Errorf("first %v, step %d: rotate: %v", first, step, err)
			}
			if _, err := use(LoadOrCreate(dir)); err != nil {
				t.Errorf("first %v, step %d: after rotate: %v", first, step, err)
			}
		}
	}
}

// TestRotateAtOnce rotates while others load: key and certificate always match.
func TestRotateAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := use(LoadOrCreate(dir)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if _, err := use(LoadOrCreate(dir)); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 50 {
		if err := Rotate(dir); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}

func TestLoadAbsent(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "ca")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestUnwritable(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	os.WriteFile(file, nil, 0o600)
	_, err := LoadOrCreate(filepath.Join(file, "ca"))
	var e *Error
	if !errors.As(err, &e) || e.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

func TestEphemeral(t *testing.T) {
	f, err := Ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := New(f.Certificate, f.Key); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(f.Key); len(rest) != 0 {
		t.Error("the key can be read twice")
	}
}

func TestDir(t *testing.T) {
	for _, tt := range []struct{ xdg, home, want string }{
		{"/x", "/h", "/x/penstock/ca"}, {"", "/h", "/h/.local/share/penstock/ca"}, {"rel", "/h", "/h/.local/share/penstock/ca"}, {"", "", ""}, {"", "rel", ""},
	} {
		got, err := Dir(func(n string) string { return map[string]string{"XDG_DATA_HOME": tt.xdg, "HOME": tt.home}[n] })
		if got != filepath.FromSlash(tt.want) || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "ca")
	for b.Loop() {
		f, err := LoadOrCreate(dir)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

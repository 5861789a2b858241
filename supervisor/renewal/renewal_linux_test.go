package renewal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
)

// told is a Sink that passes on what it is told.
type told chan string

func (c told) Renew(name string, v secrets.Value) error {
	switch {
	case v.Equal(secrets.NewValue("refused")):
		return errors.New("refused")
	case v.Empty():
		c <- name + " expired"
	default:
		for _, w := range []string{"a", "b", "c", "d", "e"} {
			if v.Equal(secrets.NewValue(w)) {
				c <- name + " is " + w
			}
		}
	}
	return nil
}

func (c told) Failed(name string, err error) { c <- name + " failed: " + err.Error() }

// TestFile: each way in which a file is given another content is told by the kernel.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	name, other := filepath.Join(dir, "key"), filepath.Join(dir, "other")
	write := func(name, s string) {
		if err := os.WriteFile(name, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As Kubernetes mounts a secret: a link by a link to a directory.
	must(os.MkdirAll(filepath.Join(dir, "mount/one"), 0o700))
	must(os.MkdirAll(filepath.Join(dir, "mount/two"), 0o700))
	write(filepath.Join(dir, "mount/one/key"), "a")
	write(filepath.Join(dir, "mount/two/key"), "b")
	must(os.Symlink("one", filepath.Join(dir, "mount/..data")))
	must(os.Symlink("..data/key", filepath.Join(dir, "mount/key")))

	write(name, "b") // changed before anybody watched
	read := func(name string) func() (secrets.Value, error) {
		return func() (secrets.Value, error) {
			b, err := os.ReadFile(name)
			return secrets.NewValue(strings.TrimSpace(string(b))), err
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, done := make(told), make(chan struct{})
	go func() {
		defer close(done)
		mount := filepath.Join(dir, "mount/key")
		Run(ctx, []Source{
			{Name: "KEY", File: name, First: secrets.NewValue("a"), Read: read(name)},
			{Name: "MOUNT", File: mount, First: secrets.NewValue("a"), Read: read(mount)},
		}, c)
	}()
	want := func(s string) {
		t.Helper()
		if got := <-c; got != s {
			t.Fatalf("told %q, want %q", got, s)
		}
	}
	want("KEY is b")
	write(name, "c")
	want("KEY is c")
	write(other, "d")
	must(os.Rename(other, name))
	want("KEY is d")
	must(os.Symlink("two", filepath.Join(dir, "mount/next")))
	must(os.Rename(filepath.Join(dir, "mount/next"), filepath.Join(dir, "mount/..data")))
	want("MOUNT is b")
	// The directory is another one now, and watched too.
	write(filepath.Join(dir, "mount/two/key"), "c")
	want("MOUNT is c")
	// A value that is none changes nothing, and is told once.
	write(name, "")
	want("KEY failed: it is empty")
	write(name, "refused")
	write(name, "")
	write(name, "e")
	want("KEY is e")
	write(name, "refused")
	want("KEY failed: refused")
	must(os.Remove(name))
	must(os.Symlink(other, name))
	write(other, "a")
	want("KEY is a")
	cancel()
	<-done
}

// TestCommand: the clock says when a command is executed; what fails is kept until
// it expires.
func TestCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, done := make(told), make(chan struct{})
		start, runs := time.Now(), 0
		answers := []string{"a", "b", "fail", "fail", "c", "fail", "fail", "fail", "fail", "fail", "fail", "fail", "c", "d"}
		go func() {
			defer close(done)
			Run(ctx, []Source{{Name: "K", First: secrets.NewValue("a"), Every: time.Minute, Expires: 100 * time.Second, Read: func() (secrets.Value, error) {
				runs++
				if a := answers[runs-1]; a != "fail" {
					return secrets.NewValue(a), nil
				}
				return secrets.Value{}, fmt.Errorf("run %d", runs)
			}}}, c)
		}()
		for _, want := range []string{
			"120s K is b", "180s K failed: run 3", "200s K is c",
			"260s K failed: run 6", "300s K expired", "330s K is c", "390s K is d",
		} {
			got := <-c
			if now := fmt.Sprintf("%.0fs %s", time.Since(start).Seconds(), got); now != want {
				t.Errorf("got %q, want %q", now, want)
			}
		}
		cancel()
		<-done
	})
}

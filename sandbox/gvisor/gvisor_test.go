package gvisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
)

// plain is a pen that can be had anywhere.
type plain struct{ sandbox.Backend }

func (plain) Probe(context.Context) ([]sandbox.Capability, error) {
	return []sandbox.Capability{{Control: "kernel", State: sandbox.Unavailable}, {Control: "network", State: sandbox.Enforced}}, nil
}

func (plain) Prepare(*sandbox.Spec) error { return nil }

// TestGuest: all that the pen would show is below the command's root, and beside it
// there is the program alone.
func TestGuest(t *testing.T) {
	shown := []sandbox.Mount{
		{Source: "/usr", Target: "/usr"},
		{Kind: sandbox.Symlink, Source: "/usr/bin", Target: "/bin"},
		{Source: "/home/a/p", Target: "/home/a/p", Write: true},
		{Kind: sandbox.Tmpfs, Target: "/", Write: true},
	}
	s := &sandbox.Spec{
		Argv: []string{"echo", "-n"}, Env: []string{"A=b"}, Dir: "/home/a/p", UID: 7, GID: 8, Hostname: "pen", Terminal: true,
		Mounts: shown, Files: []sandbox.File{{Target: "/etc/hosts"}},
	}
	before := append([]sandbox.Mount(nil), shown...)
	guest(s, "/opt/"+Program)
	want := &sandbox.Spec{
		Argv: []string{"/run/penstock/gvisor", "run", "-root=/guest", "-dir=/home/a/p", "-uid=7", "-gid=8", "-hostname=pen", "-terminal=true", "--", "echo", "-n"},
		Env:  []string{"A=b"}, Dir: "/", UID: 7, GID: 8, Hostname: "pen", Terminal: true,
		Mounts: []sandbox.Mount{
			{Source: "/usr", Target: "/guest/usr"},
			{Kind: sandbox.Symlink, Source: "/usr/bin", Target: "/guest/bin"},
			{Source: "/home/a/p", Target: "/guest/home/a/p", Write: true},
			{Kind: sandbox.Tmpfs, Target: "/guest", Write: true},
			{Source: "/opt/penstock-gvisor", Target: "/run/penstock/gvisor"},
		},
		Files: []sandbox.File{{Target: "/guest/etc/hosts"}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v\nwant %+v", s, want)
	}
	if !reflect.DeepEqual(shown, before) {
		t.Error("the caller's list was changed")
	}
}

// TestGuestTells: what is watched is in a file that the command does not see.
func TestGuestTells(t *testing.T) {
	s := &sandbox.Spec{Argv: []string{"true"}, Dir: "/", Journal: true, Watched: []sandbox.Watched{{Path: "/home/a/.ssh"}, {Path: "/src/.git/config", Written: true}}}
	guest(s, "/opt/"+Program)
	want := []sandbox.File{{Target: "/run/penstock/watched", Content: []byte("r/home/a/.ssh\x00w/src/.git/config\x00")}}
	if !reflect.DeepEqual(s.Files, want) || !slices.Contains(s.Argv, "-trace=20") || !slices.Contains(s.Argv, "-watch=/run/penstock/watched") || s.Argv[len(s.Argv)-1] != "true" {
		t.Errorf("%+v", s)
	}
}

// TestGuestTakesFurther: who asks for further commands has a descriptor behind the
// journal's, or in its place.
func TestGuestTakesFurther(t *testing.T) {
	for journal, want := range map[bool]string{false: "-further=20", true: "-further=21"} {
		s := &sandbox.Spec{Argv: []string{"true"}, Dir: "/", Journal: journal, Further: true}
		guest(s, "/opt/"+Program)
		if !slices.Contains(s.Argv, want) || s.Argv[len(s.Argv)-1] != "true" {
			t.Errorf("%q", s.Argv)
		}
	}
}

// TestUnavailable: where it can't run, there is a cause and a remedy, and no plan.
func TestUnavailable(t *testing.T) {
	dir := t.TempDir()
	hinted := func(err error) bool {
		var h interface{ Hint() string }
		return errors.As(err, &h) && h.Hint() != "" && strings.HasPrefix(err.Error(), "tier gvisor: ") && !strings.Contains(err.Error(), "\n")
	}
	if _, err := New(plain{}, filepath.Join(dir, "penstock"), 7); !hinted(err) {
		t.Errorf("no program: %v", err)
	}
	for name, text := range map[string]string{"wrong": "#!/bin/sh\necho something else\n", "no program": "text"} {
		program := filepath.Join(dir, Program)
		if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		b, err := New(plain{}, filepath.Join(dir, "penstock"), 7)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Probe(t.Context()); !hinted(err) {
			t.Errorf("%s: %v", name, err)
		}
		s := &sandbox.Spec{Argv: []string{"true"}, Dir: "/"}
		if err := b.Prepare(s); !hinted(err) || s.Argv[0] != "true" {
			t.Errorf("%s: %v %v", name, err, s.Argv)
		}
	}
	b := &Backend{pen: plain{}, program: "/bin/true", landlock: 1}
	s := &sandbox.Spec{Argv: []string{"true"}, Dir: "/"}
	if err := b.Prepare(s); !hinted(err) || s.Argv[0] != "true" {
		t.Errorf("without Landlock: %v %v", err, s.Argv)
	}
	if _, err := b.Probe(t.Context()); !hinted(err) {
		t.Errorf("without Landlock: %v", err)
	}
}

// TestCapabilities: the kernel is no longer the host's, and who asks can't be told.
func TestCapabilities(t *testing.T) {
	caps, _ := plain{}.Probe(t.Context())
	got := map[string]sandbox.Enforcement{}
	for _, c := range over(caps) {
		got[c.Control] = c.State
	}
	want := map[string]sandbox.Enforcement{"kernel": sandbox.Enforced, "attribution": sandbox.Partial, "network": sandbox.Enforced}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	b := &Backend{}
	part := sandbox.Capability{Control: "memory", State: sandbox.Partial, By: "RLIMIT_DATA"}
	if c := b.Limit(part); c.State != sandbox.Unavailable || c.Detail == "" || c.Fix == "" {
		t.Errorf("%+v", c)
	}
	for _, same := range []sandbox.Capability{{Control: "memory", State: sandbox.Enforced}, {Control: "pids", State: sandbox.Partial}} {
		if c := b.Limit(same); c != same {
			t.Errorf("%+v", c)
		}
	}
}

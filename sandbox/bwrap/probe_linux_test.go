package bwrap

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/penstock/penstock/sandbox"
	"github.com/penstock/penstock/sandbox/container"
)

func TestProbe(t *testing.T) {
	caps, err := backend(t).Probe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range caps {
		if c.Control == "" || (c.State != sandbox.Enforced && c.Detail == "") {
			t.Errorf("%+v", c)
		}
	}
}

func TestCapabilitiesSayWhatIsMissing(t *testing.T) {
	for abi, want := range map[int]sandbox.Enforcement{0: sandbox.Unavailable, 1: sandbox.Partial, 5: sandbox.Partial, 6: sandbox.Enforced, 7: sandbox.Enforced} {
		caps := new(Backend).Capabilities(abi)
		if got := caps[len(caps)-1]; got.State != want {
			t.Errorf("ABI %d: %+v", abi, got)
		}
	}
}

func TestExplain(t *testing.T) {
	engines := map[string]string{
		"bwrap: Can't mount proc on /newroot/proc: Operation not permitted": "docker",
		"bwrap: Can't set hostname to pen: Operation not permitted":         "podman",
	}
	for said, fix := range map[string]string{
		"bwrap: setting up uid map: Permission denied":                                    "apparmor",
		"bwrap: No permissions to creating new namespace, likely because the kernel does": "unprivileged_userns_clone",
		"bwrap: Creating new namespace failed: No space left on device":                   "max_user_namespaces",
		"bwrap: Can't mount proc on /newroot/proc: Operation not permitted":               "systempaths",
		"bwrap: Can't set hostname to pen: Operation not permitted":                       "seccomp=penstock-seccomp.json",
		"bwrap: Unknown option --disable-userns":                                          "0.8.0",
		"":                                                                                "by hand",
	} {
		err := explain(errors.New("exit status 1"), said+"\nmore", &container.Place{Engine: engines[said]})
		var e interface{ Hint() string }
		if !errors.As(err, &e) || !strings.Contains(e.Hint(), fix) {
			t.Errorf("%s: %v; %s", said, err, e.Hint())
		}
	}
	if err := explain(errors.New("x"), "\x1b[31m"+strings.Repeat("a", 1000), &container.Place{Engine: "docker"}); strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 300 {
		t.Errorf("%q", err)
	}
}

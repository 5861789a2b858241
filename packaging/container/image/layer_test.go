package main

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// packed is a tar of these entries; a file holds its own name.
func packed(t *testing.T, entries ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func nothing(string) bool { return false }

// TestAddRefuses: a package file can't put anything where it has no business.
func TestAddRefuses(t *testing.T) {
	for want, entries := range map[string][]tar.Header{
		"not a file that an image": {{Typeflag: tar.TypeReg, Name: "./../etc/shadow"}},
		"no use for":               {{Typeflag: tar.TypeChar, Name: "./dev/mem"}},
		"two packages":             {{Typeflag: tar.TypeReg, Name: "./a"}, {Typeflag: tar.TypeReg, Name: "./a"}},
		"which is no file":         {{Typeflag: tar.TypeLink, Name: "./a", Linkname: "./b"}},
	} {
		if err := (tree{}).add(packed(t, entries...), nothing); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", entries, err)
		}
	}
	if err := (tree{}).add(strings.NewReader("no tar"), nothing); err == nil {
		t.Error("that is no tar")
	}
}

// TestLayer: the same tree is the same bytes, in whatever order it was put together, with
// the directories that its files need.
func TestLayer(t *testing.T) {
	when := time.Unix(1700000000, 0)
	a, b := tree{}, tree{}
	if err := a.add(packed(t, tar.Header{Typeflag: tar.TypeDir, Name: "./usr/", Mode: 0o755}, tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/x", Mode: 0o755, ModTime: when},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/x", Mode: 0o644}, tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/copyright", Mode: 0o644}), dropped); err != nil {
		t.Fatal(err)
	}
	a.link("bin", "usr/bin")
	b.link("bin", "usr/bin")
	b.file("usr/share/doc/copyright", 0o644, []byte("./usr/share/doc/copyright"))
	b.file("usr/bin/x", 0o755, []byte("./usr/bin/x"))
	one, err := a.layer(when)
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.layer(when)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("%d and %d bytes: %v", len(one), len(two), err)
	}
	var names []string
	for tr := tar.NewReader(bytes.NewReader(one)); ; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	if want := []string{"bin", "usr/", "usr/bin/", "usr/bin/x", "usr/share/", "usr/share/doc/", "usr/share/doc/copyright"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	b.file("bin", 0o755, nil)
	b.file("bin/sh", 0o755, nil)
	if _, err := b.layer(when); err == nil {
		t.Error("bin is a file and a directory")
	}
	x, err := archive(one, "amd64", "penstock:1", when, runConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if y, err := archive(one, "amd64", "penstock:1", when, runConfig{}); err != nil || !bytes.Equal(x, y) {
		t.Errorf("two archives differ: %v", err)
	}
}

func TestTagged(t *testing.T) {
	if got := tagged("0.1.0-dev+ab/c d"); got != "0.1.0-dev-ab-c-d" {
		t.Error(got)
	}
	if _, err := build(&options{debs: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no package files") {
		t.Error(err)
	}
}

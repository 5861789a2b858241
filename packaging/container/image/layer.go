package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is a file system: what is at each path, without its first slash.
type tree map[string]*node

type node struct {
	head tar.Header
	data []byte
}

// largest is the size up to which a file is taken from a package.
const largest = 1 << 28

// add takes over a package's files from its tar, but those that drop says are no use in
// an image. A file that two packages have is an error, as it is for dpkg.
func (t tree) add(r io.Reader, drop func(name string) bool) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if name == "." || drop(name) {
			continue
		}
		if !local(name) || h.Size > largest {
			return fmt.Errorf("%q is not a file that an image can have", h.Name)
		}
		n := &node{head: tar.Header{Typeflag: h.Typeflag, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, Linkname: h.Linkname}}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeSymlink:
		case tar.TypeReg:
			if n.data, err = io.ReadAll(tr); err != nil {
				return err
			}
		case tar.TypeLink: // the same bytes once more
			of := t[path.Clean(strings.TrimPrefix(h.Linkname, "./"))]
			if of == nil || of.head.Typeflag != tar.TypeReg {
				return fmt.Errorf("%q is a link to %q, which is no file", h.Name, h.Linkname)
			}
			n.head.Typeflag, n.head.Linkname, n.data = tar.TypeReg, "", of.data
		default:
			return fmt.Errorf("%q is of a kind that an image has no use for", h.Name)
		}
		if old := t[name]; old != nil && (old.head.Typeflag != tar.TypeDir || h.Typeflag != tar.TypeDir) {
			return fmt.Errorf("%q is in two packages", h.Name)
		}
		t[name] = n
	}
}

// local is a path that stays below the root.
func local(name string) bool {
	return !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../")
}

// dir, file and link put something in, with root as its owner.
func (t tree) dir(name string, mode int64) *node {
	t[name] = &node{head: tar.Header{Typeflag: tar.TypeDir, Mode: mode}}
	return t[name]
}

func (t tree) file(name string, mode int64, data []byte) {
	t[name] = &node{head: tar.Header{Typeflag: tar.TypeReg, Mode: mode}, data: data}
}

func (t tree) link(name, to string) {
	t[name] = &node{head: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: to}}
}

// layer writes the tree as a tar whose bytes depend on nothing else: sorted, with one
// time, and with every directory before what is in it.
func (t tree) layer(when time.Time) ([]byte, error) {
	for name := range t {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			if t[d] == nil {
				t.dir(d, 0o755)
			}
			if t[d].head.Typeflag == tar.TypeReg {
				return nil, fmt.Errorf("%q is a file and a directory", d)
			}
		}
	}
	var names []string
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, name := range names {
		n := t[name]
		h := n.head
		h.Name, h.Size, h.ModTime, h.Format = name, int64(len(n.data)), when, tar.FormatPAX
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := tw.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("write %q: %w", name, err)
		}
		if _, err := tw.Write(n.data); err != nil {
			return nil, fmt.Errorf("write %q: %w", name, err)
		}
	}
	return out.Bytes(), tw.Close()
}

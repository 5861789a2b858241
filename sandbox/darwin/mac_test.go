package darwin

import (
	"io/fs"
	"path"
	"sort"
	"strings"
)

// mac is a machine's files. Names are told apart by case only where they are listed, as
// on the usual file system of macOS.
type mac struct {
	nodes map[string]fs.FileMode
	texts map[string]string
}

// machine makes one of "/dir/", "/file" and "/link -> text".
func machine(list ...string) *mac {
	m := &mac{nodes: map[string]fs.FileMode{"/": fs.ModeDir}, texts: map[string]string{}}
	for _, e := range list {
		name, text, link := strings.Cut(e, " -> ")
		mode := fs.FileMode(0)
		switch {
		case link:
			mode = fs.ModeSymlink
			m.texts[name] = text
		case strings.HasSuffix(name, "/"):
			mode = fs.ModeDir
			name = strings.TrimSuffix(name, "/")
		}
		m.nodes[name] = mode
		for d := path.Dir(name); d != "/"; d = path.Dir(d) {
			m.nodes[d] = fs.ModeDir
		}
	}
	return m
}

// usual is a Mac with a user's home.
func usual(more ...string) *mac {
	return machine(append([]string{
		"/bin/sh", "/sbin/", "/usr/bin/git", "/usr/lib/dyld", "/usr/libexec/", "/usr/sbin/", "/usr/share/", "/usr/local/bin/penstock",
		"/System/Library/", "/System/Cryptexes/", "/System/Volumes/Preboot/Cryptexes/", "/System/Volumes/Data/Users/u/",
		"/Library/Apple/", "/private/etc/hosts", "/private/tmp/pen/", "/private/var/db/dyld/", "/private/var/select/sh",
		"/etc -> private/etc", "/tmp -> private/tmp", "/var -> private/var",
		"/Users/u/.ssh/id", "/Users/u/.nvm/", "/Users/u/work/.git/config", "/Users/u/work/.git/hooks/", "/Users/u/work/src/a", "/Users/u/work/.vscode/",
		"/Users/u/other/x",
	}, more...)...)
}

// find returns the name on disk.
func (m *mac) find(name string) (string, bool) {
	if _, ok := m.nodes[name]; ok {
		return name, true
	}
	for n := range m.nodes {
		if strings.EqualFold(n, name) {
			return n, true
		}
	}
	return "", false
}

func (m *mac) Lstat(name string) (fs.FileMode, error) {
	n, ok := m.find(name)
	if !ok {
		return 0, fs.ErrNotExist
	}
	return m.nodes[n], nil
}

func (m *mac) Readlink(name string) (string, error) {
	n, _ := m.find(name)
	if m.nodes[n]&fs.ModeSymlink == 0 {
		return "", fs.ErrInvalid
	}
	return m.texts[n], nil
}

func (m *mac) ReadDir(name string) ([]string, error) {
	var out []string
	for n := range m.nodes {
		if n != "/" && strings.EqualFold(path.Dir(n), name) {
			out = append(out, path.Base(n))
		}
	}
	sort.Strings(out)
	return out, nil
}

// real follows links as the kernel does.
func (m *mac) real(name string) string {
	for from, text := range m.texts {
		if name == from || strings.HasPrefix(name, from+"/") {
			return m.real(path.Join(path.Dir(from), text) + strings.TrimPrefix(name, from))
		}
	}
	return name
}

package layout

import (
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"
)

// maxRead bounds the files that planning reads: git's small ones.
const maxRead = 1 << 20

// OS returns the real machine. It looks at each path once: a plan asks for the
// same directories hundreds of times, and must not see two states of one. It is
// for one plan and one goroutine.
func OS() Host { return &machine{seen: map[string]look{}} }

type machine struct {
	seen map[string]look
}

// look is what was at a path.
type look struct {
	mode fs.FileMode
	err  error
}

func (m *machine) Lstat(name string) (fs.FileMode, error) {
	l, ok := m.seen[name]
	if !ok {
		st, err := os.Lstat(name)
		if err == nil {
			l.mode = st.Mode()
		}
		l.err = err
		m.seen[name] = l
	}
	return l.mode, l.err
}

func (*machine) Readlink(name string) (string, error) { return os.Readlink(name) }

func (*machine) ReadDir(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(10_000)
	if err != nil && err != io.EOF {
		return nil, err
	}
	sort.Strings(names)
	return names, nil
}

func (*machine) ReadFile(name string) ([]byte, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRead))
}

// socketPaths takes the bound paths out of /proc/net/unix. Names in the
// abstract space (@) are bounded by the network namespace.
func socketPaths(table string) []string {
	var out []string
	for _, line := range strings.Split(table, "\n") {
		// Num RefCount Protocol Flags Type St Inode Path; a path may have spaces.
		fields := strings.SplitN(line, " ", 8)
		if len(fields) < 8 {
			continue
		}
		_, p, ok := strings.Cut(line, " /")
		if ok {
			out = append(out, "/"+p)
		}
	}
	sort.Strings(out)
	return out
}

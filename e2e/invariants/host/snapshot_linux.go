package host

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// Snapshot is everything on the host that a session could leave behind, one line
// per thing, sorted.
type Snapshot []string

// Take describes the host as it is now: processes, mounts, links, addresses,
// routes, tables of nf_tables, namespaces of processes and network namespaces that
// this one knows, abstract sockets, what privileged supervisors have for sessions,
// and the files of the temporary directories but those below one of but.
func Take(t testing.TB, but ...string) Snapshot {
	t.Helper()
	var s Snapshot
	running, _ := Left()
	for _, p := range running {
		s = append(s, fmt.Sprintf("process %s", p))
	}
	s = append(s, table(t, "mount", "/proc/self/mountinfo", func(f []string) string {
		return strings.Join(f[2:], " ") // without the ids
	})...)
	s = append(s, network(t)...)
	s = append(s, rules(t)...)
	s = append(s, namespaces()...)
	s = append(s, supervisors()...)
	s = append(s, table(t, "socket", "/proc/thread-self/net/unix", func(f []string) string {
		if len(f) < 8 || !strings.HasPrefix(f[7], "@") {
			return "" // a socket with a file is seen as one
		}
		return f[7]
	})...)
	for _, dir := range temporary() {
		s = append(s, files(t, dir, but)...)
	}
	sort.Strings(s)
	return s
}

// AtOnce leaves out what a privileged supervisor makes ahead for the next session.
func (s Snapshot) AtOnce() (out Snapshot) {
	for _, l := range s {
		if !strings.HasPrefix(l, "supervisor ") {
			out = append(out, l)
		}
	}
	return out
}

// Settled is Take once the host has come to rest: a privileged supervisor makes
// ahead, after its start and after each session, what the next ones will need.
func Settled(t testing.TB, but ...string) Snapshot {
	t.Helper()
	s := Take(t, but...)
	if len(world.Supervisors()) == 0 {
		return s
	}
	const rest = 300 * time.Millisecond
	since := time.Now()
	Until(t, "the host to come to rest", func() bool {
		now := Take(t, but...)
		if Diff(s, now) != "" {
			s, since = now, time.Now()
		}
		return time.Since(since) > rest
	})
	return s
}

func table(t testing.TB, what, name string, line func([]string) string) (s Snapshot) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) > 2 {
			if l := line(f); l != "" {
				s = append(s, what+" "+l)
			}
		}
	}
	return s
}

// network lists what the host's network namespace has, and the other namespaces
// that have a number in it: a rule or route that leads to one needs a link.
func network(t testing.TB) (s Snapshot) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		s = append(s, fmt.Sprintf("link %s %s", l.Type(), l.Attrs().Name))
	}
	routes, err := netlink.RouteList(nil, unix.AF_UNSPEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		s = append(s, fmt.Sprintf("route %v by %v", r.Dst, r.Gw))
	}
	rules, err := netlink.RuleList(unix.AF_UNSPEC)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		s = append(s, fmt.Sprintf("rule %v", r))
	}
	ids, err := NamespaceIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		s = append(s, fmt.Sprintf("namespace %d", id))
	}
	return s
}

// NamespaceIDs lists the numbers of other network namespaces in this one
// (RTM_GETNSID). A number goes when its namespace has ceased to exist, whoever
// held it.
func NamespaceIDs() ([]int32, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
	req.AddData(&rtgenmsg{})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var out []int32
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[unix.SizeofRtGenmsg+3:])
		if err != nil {
			return nil, err
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.NETNSA_NSID {
				out = append(out, int32(nl.NativeEndian().Uint32(a.Value)))
			}
		}
	}
	return out, nil
}

// rtgenmsg is struct rtgenmsg with family 0, padded to a netlink attribute's place.
type rtgenmsg struct{}

func (rtgenmsg) Len() int          { return 4 }
func (rtgenmsg) Serialize() []byte { return make([]byte, 4) }

// files lists what is below dir: type, mode and owner, not what may change.
func files(t testing.TB, dir string, but []string) (s Snapshot) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		for _, b := range but {
			if p == b {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
		}
		if fi, err := d.Info(); err == nil {
			s = append(s, fmt.Sprintf("file %s %s", p, fi.Mode()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Diff returns what is in after and not in before with a plus, and the reverse
// with a minus, a line each; "" if they are the same.
func Diff(before, after Snapshot) string {
	var b strings.Builder
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case j == len(after) || i < len(before) && before[i] < after[j]:
			fmt.Fprintf(&b, "-%s\n", before[i])
			i++
		case i == len(before) || after[j] < before[i]:
			fmt.Fprintf(&b, "+%s\n", after[j])
			j++
		default:
			i, j = i+1, j+1
		}
	}
	return b.String()
}

// Clean waits until the host is as it was, and fails the test if it does not
// become so.
func Clean(t testing.TB, before Snapshot, but ...string) {
	t.Helper()
	var diff string
	if !Soon(func() bool { diff = Diff(before, Take(t, but...)); return diff == "" }, Patience/6) {
		t.Errorf("the host is not as it was before:\n%s", diff)
	}
}

package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// supervisors lists what privileged supervisors have for sessions: control
// groups, pins, and descriptors of a kind that sessions bring.
func supervisors() (s Snapshot) {
	for pid, sup := range world.Supervisors() {
		for _, g := range sup.Groups() {
			// Those of proxies come and go with the idle ones, whose number is that
			// of the processes below.
			if !strings.Contains(g, "/proxies/") {
				s = append(s, "group "+g)
			}
		}
		for _, p := range sup.Pins() {
			s = append(s, "pin "+sup.Name+" "+p)
		}
		for kind, n := range kinds(pid) {
			s = append(s, fmt.Sprintf("supervisor %s has %d %s", sup.Name, n, kind))
		}
		s = append(s, fmt.Sprintf("supervisor %s has %d children", sup.Name, len(children(pid))))
	}
	return s
}

// kinds counts the descriptors of a process by what they are.
func kinds(pid int) map[string]int {
	out := map[string]int{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		kind, _, _ := strings.Cut(name, ":[")
		if dir, _, ok := strings.Cut(kind, "/proxies/"); ok {
			kind = dir + "/proxies" // each idle one's is another
		}
		out[kind]++
	}
	return out
}

// rules lists the tables of nf_tables that the host's network has.
func rules(t testing.TB) (s Snapshot) {
	t.Helper()
	const newTable, getTable = 0, 1 // nf_tables_msg_types
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|getTable, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|newTable)
	if err != nil {
		t.Fatalf("list tables: %v", err)
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK == 1 { // NFTA_TABLE_NAME
				s = append(s, fmt.Sprintf("nftables family %d table %s", m[0], bytes.TrimRight(a.Value, "\x00")))
			}
		}
	}
	return s
}

// namespaces lists those that this process's descendants are in, or hold open,
// but for its own.
func namespaces() (s Snapshot) {
	self := map[string]bool{}
	for _, n := range namespacesOf("/proc/self") {
		self[n] = true
	}
	seen := map[string]bool{}
	for _, p := range Descendants(os.Getpid()) {
		for _, n := range namespacesOf(fmt.Sprintf("/proc/%d", p.PID)) {
			if !self[n] && !seen[n] {
				seen[n] = true
				s = append(s, "namespace "+n)
			}
		}
	}
	return s
}

func namespacesOf(dir string) (out []string) {
	for _, sub := range []string{"ns", "fd"} {
		entries, _ := os.ReadDir(filepath.Join(dir, sub))
		for _, e := range entries {
			name, _ := os.Readlink(filepath.Join(dir, sub, e.Name()))
			kind, _, ok := strings.Cut(name, ":[")
			if ok && kind != "socket" && kind != "pipe" && kind != "pidfd" && kind != "anon_inode" {
				out = append(out, name)
			}
		}
	}
	return out
}

// BPF are the ids of eBPF objects, by kind.
type BPF map[string]bool

// HeldBPF returns the objects that a process and its children have.
func HeldBPF(pid int) BPF {
	out := BPF{}
	for _, p := range append(children(pid), pid) {
		infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p))
		for _, name := range infos {
			b, _ := os.ReadFile(name)
			for l := range strings.Lines(string(b)) {
				k, v, _ := strings.Cut(l, ":")
				if k == "prog_id" || k == "map_id" || k == "link_id" {
					out[k+" "+strings.TrimSpace(v)] = true
				}
			}
		}
	}
	return out
}

// Existing returns those that the kernel still has.
func (b BPF) Existing(t testing.TB) (out []string) {
	t.Helper()
	for k := range b {
		var id uint32
		kind, number, _ := strings.Cut(k, " ")
		fmt.Sscan(number, &id)
		fd, errno := bpfByID(map[string]int{"prog_id": unix.BPF_PROG_GET_FD_BY_ID, "map_id": unix.BPF_MAP_GET_FD_BY_ID, "link_id": unix.BPF_LINK_GET_FD_BY_ID}[kind], id)
		switch errno {
		case 0:
			unix.Close(fd)
			out = append(out, k)
		case unix.ENOENT, unix.EAGAIN: // EAGAIN: a link that is being made or released
		default:
			t.Fatalf("%s: %v", k, errno)
		}
	}
	return out
}

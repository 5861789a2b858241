package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/internal/world"
)

// serving finds the privileged supervisor that a session's client talks to, and
// the proxy that serves the session, by the other ends of the client's sockets:
// 0 for what there is none of now.
func serving(client int) (daemon, proxy int) {
	all := world.Supervisors()
	if len(all) == 0 {
		return 0, 0
	}
	held := socketsOf(client)
	if len(held) == 0 {
		return 0, 0
	}
	ends := map[string]bool{}
	for inode, peer := range unixPeers() {
		if held[inode] {
			ends[peer] = true
		}
	}
	for pid := range all {
		own := socketsOf(pid)
		if !meets(own, ends) {
			continue
		}
		for _, c := range children(pid) {
			// One that is about to become a proxy has copies of what the daemon holds.
			theirs := socketsOf(c)
			for inode := range own {
				delete(theirs, inode)
			}
			if meets(theirs, ends) {
				return pid, c
			}
		}
		return pid, 0
	}
	return 0, 0
}

func meets(a, b map[string]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// unixPeers maps each connected unix socket to its other end, by inode number
// (unix_diag).
func unixPeers() map[string]string {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(peersRequest{})
	msgs, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	for errors.Is(err, nl.ErrDumpInterrupted) || errors.Is(err, unix.EINTR) {
		msgs, err = req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	}
	if err != nil {
		panic(err) // as if there were no proxies, when there are
	}
	const header = 16 // struct unix_diag_msg
	out := map[string]string{}
	for _, m := range msgs {
		if len(m) < header {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[header:])
		if err != nil {
			continue
		}
		for _, a := range attrs {
			if a.Attr.Type == netlink.UNIX_DIAG_PEER {
				out[number(m[4:])] = number(a.Value)
			}
		}
	}
	return out
}

func number(b []byte) string { return strconv.FormatUint(uint64(nl.NativeEndian().Uint32(b)), 10) }

// peersRequest is struct unix_diag_req: all states, the peer shown.
type peersRequest struct{}

func (peersRequest) Len() int { return 24 }

func (peersRequest) Serialize() []byte {
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	nl.NativeEndian().PutUint32(b[4:], ^uint32(0))
	nl.NativeEndian().PutUint32(b[12:], 1<<netlink.UNIX_DIAG_PEER)
	return b
}

// socketsOf returns the inode numbers of the sockets that a process holds.
func socketsOf(pid int) map[string]bool {
	out := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name, _ := os.Readlink(filepath.Join(dir, e.Name()))
		if inode, ok := strings.CutPrefix(name, "socket:["); ok {
			out[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return out
}

// inSession returns the children of a privileged supervisor but its idle proxies:
// a session's proxy holds the session's record.
func inSession(daemon int) (out []Process) {
	for _, pid := range children(daemon) {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name, _ := os.Readlink(filepath.Join(dir, e.Name()))
			if strings.Contains(name, "/audit/") && strings.Contains(name, ".jsonl") {
				if p, ok := read(pid); ok {
					out = append(out, p)
				}
				break
			}
		}
	}
	return out
}

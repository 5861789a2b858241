package daemon

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// want is what one of the pen's sockets must be.
type want struct {
	domain, typ, proto int
	listens            bool
}

// wants maps the names of netns.Sockets.
func wants(name string) (want, bool) {
	tcp := want{typ: unix.SOCK_STREAM, proto: unix.IPPROTO_TCP, listens: true}
	udp := want{typ: unix.SOCK_DGRAM, proto: unix.IPPROTO_UDP}
	var w want
	switch name {
	case "capture4", "explicit4", "dnstcp4", "capture6", "explicit6", "dnstcp6":
		w = tcp
	case "dnsudp4", "dnsudp6":
		w = udp
	case "drops":
		return want{domain: unix.AF_NETLINK, typ: unix.SOCK_RAW, proto: unix.NETLINK_NETFILTER}, true
	case "connector":
		return want{domain: unix.AF_UNIX, typ: unix.SOCK_SEQPACKET}, true
	default:
		return w, false
	}
	w.domain = unix.AF_INET
	if strings.HasSuffix(name, "6") {
		w.domain = unix.AF_INET6
	}
	return w, true
}

// ownNamespace returns the inode number of one of this process's namespaces.
func ownNamespace(name string) (uint64, error) {
	link, err := os.Readlink("/proc/self/ns/" + name)
	if err != nil {
		return 0, err
	}
	return inode(link)
}

// netnsInode tells which network namespace an open file is, or that it is none.
func netnsInode(f *os.File) (uint64, error) {
	name, err := kind(f)
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(name, "net:[") {
		return 0, errors.New("the last descriptor is no network namespace")
	}
	return inode(name)
}

// owner returns the inode number of the user namespace that owns an open
// namespace (for a user namespace: its parent) and the uid who made that.
func owner(ns *os.File, how uint) (id uint64, uid int, err error) {
	err = withFD(ns, func(fd int) error {
		user, err := unix.IoctlRetInt(fd, how)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(user), "user namespace")
		defer f.Close()
		name, err := kind(f)
		if err != nil {
			return err
		}
		if id, err = inode(name); err != nil {
			return err
		}
		uid, err = ownerUID(user)
		return err
	})
	return id, uid, err
}

// checkSocket tells whether f is what the pen's socket name must be, made in
// network namespace ns.
func checkSocket(name string, f *os.File, ns uint64) error {
	w, ok := wants(name)
	if !ok {
		return fmt.Errorf("socket %q is none of a pen's", name)
	}
	k, err := kind(f)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(k, "socket:[") {
		return fmt.Errorf("%s is no socket", name)
	}
	return withFD(f, func(fd int) error {
		for _, o := range []struct {
			what string
			opt  int
			want int
		}{{"family", unix.SO_DOMAIN, w.domain}, {"type", unix.SO_TYPE, w.typ}, {"protocol", unix.SO_PROTOCOL, w.proto}, {"listening", unix.SO_ACCEPTCONN, btoi(w.listens)}} {
			got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.opt)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if got != o.want {
				return fmt.Errorf("%s has the wrong %s (%d, not %d)", name, o.what, got, o.want)
			}
		}
		// Needs CAP_NET_ADMIN over the namespace, which root of the host has.
		ns1, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
		if err != nil {
			return fmt.Errorf("%s: find its network namespace: %w", name, err)
		}
		nf := os.NewFile(uintptr(ns1), "network namespace")
		defer nf.Close()
		id, err := netnsInode(nf)
		if err == nil && id != ns {
			err = errors.New("made in another network namespace")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// namesOnce refuses a set of sockets without which a pen would leak or hang.
func namesOnce(names []string) error {
	have := map[string]bool{}
	for _, n := range names {
		if _, ok := wants(n); !ok || have[n] {
			return fmt.Errorf("socket %.40q is unknown or there twice", n)
		}
		have[n] = true
	}
	for _, n := range []string{"capture4", "explicit4", "dnsudp4", "dnstcp4", "drops"} {
		if !have[n] {
			return fmt.Errorf("socket %s is missing", n)
		}
	}
	return nil
}

// builderFacts are what is remembered of the pen's first process.
type builderFacts struct {
	start         uint64
	user, net     uint64 // its namespaces
	uid, gid, pid int
}

// settleTime bounds the wait for no_new_privs.
const settleTime = time.Second

// examineBuilder tells whether p may be put into a session's group: its user's
// own process, in a user namespace that its user made below ours, that can gain
// no privilege.
func examineBuilder(p *process, uid int, userNS, netNS uint64) (*builderFacts, error) {
	var f *facts
	var err error
	// The caller joins it while it is starting: that it gives up privileges, which
	// is the first thing it does, may be a moment away.
	for end := time.Now().Add(settleTime); ; time.Sleep(settleTime / 1000) {
		if f, err = p.facts(); err != nil {
			return nil, err
		}
		switch {
		case f.tgid != p.pid:
			return nil, errors.New("the process is a thread of another one")
		case !all(f.uid, uid):
			return nil, errors.New("the process is another user's")
		}
		if f.noNewPrivs {
			break
		}
		if time.Now().After(end) {
			return nil, errors.New("the process can gain privileges: no_new_privs is off")
		}
		if err := p.alive(); err != nil {
			return nil, err
		}
	}
	b := &builderFacts{uid: uid, gid: f.gid[0], pid: p.pid}
	if b.start, err = p.started(); err != nil {
		return nil, err
	}
	if b.user, err = p.namespace("user"); err != nil {
		return nil, err
	}
	if b.net, err = p.namespace("net"); err != nil {
		return nil, err
	}
	if b.user == userNS || b.net == netNS {
		return nil, errors.New("the process is in the host's user or network namespace")
	}
	fd, err := p.open("ns/user")
	if err != nil {
		return nil, err
	}
	user := os.NewFile(uintptr(fd), "user namespace")
	defer user.Close()
	if id, err := namespaceID(user); err != nil || id != b.user {
		return nil, errors.New("the process changes its namespaces")
	}
	made, err := ownerUID(fd)
	if err != nil || made != uid {
		return nil, errors.New("the process's user namespace is another user's")
	}
	if parent, _, err := owner(user, unix.NS_GET_PARENT); err != nil || parent != userNS {
		return nil, errors.New("the process's user namespace was not made from the host's")
	}
	return b, p.alive()
}

func namespaceID(f *os.File) (uint64, error) {
	name, err := kind(f)
	if err != nil {
		return 0, err
	}
	return inode(name)
}

// examineShim tells whether p is the held first process of the command in the
// pen that b began. ours are the host's namespaces.
func examineShim(p *process, b *builderFacts, ours map[string]uint64) error {
	f, err := p.facts()
	if err != nil {
		return err
	}
	switch {
	case f.tgid != p.pid:
		return errors.New("the process is a thread of another one")
	case !all(f.uid, b.uid) || !all(f.gid, b.gid):
		return fmt.Errorf("its ids are %v and %v, not those of the user", f.uid, f.gid)
	case f.caps != [5]uint64{}:
		return fmt.Errorf("it has capabilities: %x", f.caps)
	case !f.noNewPrivs:
		return errors.New("no_new_privs is off")
	case f.seccomp != unix.SECCOMP_MODE_FILTER:
		return errors.New("it has no seccomp filter")
	case len(f.nspid) < 2:
		return errors.New("it has no pid namespace of its own")
	}
	for name, host := range ours {
		id, err := p.namespace(name)
		if err != nil {
			return err
		}
		switch {
		case id == host:
			return fmt.Errorf("its %s namespace is the host's", name)
		case name == "net" && id != b.net:
			return errors.New("its network namespace is not the one that was handed over")
		case name == "user" && id == b.user:
			return errors.New("it is in the user namespace that owns the network")
		}
	}
	if err := descends(f.ppid, b.pid); err != nil {
		return err
	}
	return p.alive()
}

// checkOpenFiles tells whether p, and what it starts, can open no more than most
// files.
func checkOpenFiles(p *process, most uint64) error {
	text, err := p.read("limits")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		row, ok := strings.CutPrefix(line, "Max open files ")
		if !ok {
			continue
		}
		f := strings.Fields(row)
		if len(f) < 2 {
			break
		}
		if hard, err := strconv.ParseUint(f[1], 10, 64); err != nil || hard > most {
			return fmt.Errorf("it may open %.20s files, more than %d", f[1], most)
		}
		return nil
	}
	return errors.New("how many files it may open is not said")
}

// maxDepth bounds the way up from the shim to the builder: bwrap's first process
// inside is between them.
const maxDepth = 8

// descends tells whether ancestor is on the way up from pid.
func descends(pid, ancestor int) error {
	for range maxDepth {
		if pid == ancestor {
			return nil
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			break
		}
		f, err := parseStatus(string(text))
		if err != nil {
			return err
		}
		if pid = f.ppid; pid <= 1 {
			break
		}
	}
	return errors.New("it does not descend from the pen's first process")
}

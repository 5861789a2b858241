package daemon

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/netns"
	"github.com/penstock/penstock/supervisor/bossctl"
)

// join puts the pen's first process into the session's group. It is written
// there by number; that it lived after that, which its pidfd says, means that the
// number was its own all the time.
func (s *session) join(pidfd *os.File) error {
	p, err := openProcess(pidfd)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	s.push(func() { p.dir.Close() })
	d := s.c.d
	b, err := examineBuilder(p, s.c.peer.uid, d.host["user"], d.host["net"])
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if s.group != nil {
		if err := s.group.Add(p.pid); err != nil {
			return fmt.Errorf("join: %w", err)
		}
		if err := p.alive(); err != nil {
			// Whoever has the number now is not ours to kill.
			s.group.Expel(p.pid) //nolint:errcheck // gone is as good
			return fmt.Errorf("join: %w", err)
		}
	}
	s.builder, s.facts = p, b
	return nil
}

// network checks the pen's sockets and steers its connections to them.
func (s *session) network(names []string, files []*os.File) error {
	if err := namesOnce(names); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	ns := files[len(files)-1]
	id, err := netnsInode(ns)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	d := s.c.d
	switch {
	case id == d.host["net"]:
		return errors.New("network: the namespace is the host's")
	case id != s.facts.net:
		return errors.New("network: the namespace is not that of the pen's first process")
	}
	user, made, err := owner(ns, unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	if user != s.facts.user || made != s.c.peer.uid {
		return errors.New("network: the namespace is not owned by the user namespace of the pen's first process")
	}
	files = files[:len(files)-1]
	sockets := make(map[string]*os.File, len(files))
	for i, f := range files {
		if err := checkSocket(names[i], f, id); err != nil {
			return fmt.Errorf("network: %w", err)
		}
		sockets[names[i]] = f
	}
	if err := d.claim(id, s); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	s.push(func() { d.unclaim(id) })
	if err := s.watched.steer(ns, sockets); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	s.names, s.pen = names, files
	return nil
}

// verify looks at the held shim. Only then does the proxy get what it can read
// hostile bytes from.
func (s *session) verify(pidfd *os.File) error {
	p, err := openProcess(pidfd)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer p.dir.Close()
	group := ""
	if s.group != nil {
		group = s.group.Path
		if held, err := s.group.Holds(p.pid); err != nil || !held {
			return errors.New("verify: the process is not in the session's control group")
		}
	}
	if err := examineShim(p, s.facts, s.c.d.host); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if most := s.open.Limits.OpenFiles; most > 0 {
		if err := checkOpenFiles(p, uint64(most)); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	if err := s.builder.alive(); err != nil {
		return fmt.Errorf("verify: the pen's first process: %w", err)
	}
	if err := s.checkFiles(p); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	user, err := p.namespace("user")
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	files := make(map[string]*os.File, len(s.names))
	for i, n := range s.names {
		files[n] = s.pen[i]
	}
	sockets, err := netns.SocketsFrom(files)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	s.sockets.SetWriteDeadline(time.Now().Add(sendTime)) //nolint:errcheck // then it fails
	if err := sockets.Send(s.sockets); err != nil {
		return err
	}
	// They are the proxy's alone from here on: with it the pen's way out is gone,
	// whatever becomes of this process. That each is a socket that can't linger was
	// checked, so closing them does not block.
	for _, f := range s.pen {
		f.Close()
	}
	s.pen, s.names = nil, nil
	return s.proxy.admit(&bossctl.Admit{
		UID: s.facts.uid, GID: s.facts.gid, Cgroup: group, Net: s.facts.net, User: user, PID: s.facts.pid, Start: s.facts.start,
	})
}

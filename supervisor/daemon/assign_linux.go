package daemon

import (
	"net"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/supervisor/bossctl"
	"github.com/penstock/penstock/supervisor/packet"
)

// assign gives the proxy the session, and returns the caller's end of the
// conversation with it.
func (s *session) assign(f *floor) (*os.File, error) {
	if p := s.c.d.cfg.Programs; p != nil && s.group != nil && s.proxy.group != nil {
		var err error
		if s.watched, err = watch(p, s.group, s.proxy.group); err != nil {
			return nil, err
		}
		s.push(func() {
			if err := s.watched.close(); err != nil {
				s.c.d.cfg.Log("session %s: %v", s.id, err)
			}
		})
	}
	events, err := s.watched.events()
	if err != nil {
		return nil, err
	}
	if events != nil {
		defer events.Close()
	}
	control, theirs, sockets, theirSockets, err := pairs()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	defer theirSockets.Close()
	s.sockets = sockets
	s.push(func() { sockets.Close() })
	files := []*os.File{theirs, theirSockets, s.record.File}
	if events != nil {
		files = append(files, events)
	}
	a := &bossctl.Assign{
		Session: s.id, UID: s.c.peer.uid, User: userName(s.c.peer.uid), Started: s.begun,
		FloorName: f.name, FloorText: f.text, Limits: s.open.Limits, Events: events != nil,
	}
	if s.group != nil {
		a.Group, a.Cgroup = s.group.ID(), s.group.Path
	}
	err = s.proxy.assign(a, s, s.fail, files...)
	if err != nil {
		control.Close()
		return nil, err
	}
	return control, nil
}

func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil || u.Username == "" || len(u.Username) > 100 {
		return "#" + strconv.Itoa(uid)
	}
	return oneLine(u.Username)
}

// pairs are the two conversations of a session that the daemon makes and one of
// which it hands on.
func pairs() (control, theirControl *os.File, sockets *net.UnixConn, theirSockets *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	control, theirControl = os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	if sockets, theirSockets, err = packet.Pair(); err != nil {
		control.Close()
		theirControl.Close()
	}
	return control, theirControl, sockets, theirSockets, err
}

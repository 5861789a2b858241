package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/cgroup"
)

// peer is who has connected, as the kernel says it.
type peer struct {
	uid, gid, pid int
	proc          *process
}

// credentials of the process that connected, at the time it did (unix(7)).
func credentials(uc *net.UnixConn) (peer, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil {
		return peer{}, cerr
	}
	if err != nil {
		return peer{}, err
	}
	// The overflow ids stand for whatever this user namespace does not know.
	if cred.Uid == 65534 || cred.Pid <= 0 {
		return peer{}, errors.New("who is calling can't be told")
	}
	return peer{uid: int(cred.Uid), gid: int(cred.Gid), pid: int(cred.Pid)}, nil
}

// maxGroups is how many supplementary groups a process may have (NGROUPS_MAX).
const maxGroups = 65536

// peerGroups are the supplementary groups of the process that connected, at the
// time it did (SO_PEERGROUPS, Linux 4.13).
func peerGroups(uc *net.UnixConn) ([]uint32, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	list := make([]uint32, 64)
	for {
		size := uint32(4 * len(list))
		var errno unix.Errno
		if err := raw.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS, uintptr(unsafe.Pointer(&list[0])), uintptr(unsafe.Pointer(&size)), 0)
		}); err != nil {
			return nil, err
		}
		switch {
		case errno == 0:
			return list[:size/4], nil
		case errno != unix.ERANGE || len(list) >= maxGroups:
			return nil, fmt.Errorf("read the caller's groups: %w", errno)
		}
		list = make([]uint32, maxGroups)
	}
}

// peerProcess opens the process that connected: by SO_PEERPIDFD (Linux 6.5), else
// by its number. A number may be another's by now, so the user id must still be
// the peer's; of that user's processes it may then be any, which a caller can
// also bring about by passing the connection on.
func peerProcess(uc *net.UnixConn, who peer) (*process, error) {
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if cerr := raw.Control(func(s uintptr) { fd, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD) }); cerr != nil {
		return nil, cerr
	}
	byNumber := false
	if errors.Is(err, unix.ENOPROTOOPT) {
		byNumber = true
		fd, err = unix.PidfdOpen(who.pid, 0)
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "pidfd")
	p, err := openProcess(f)
	if err == nil && byNumber {
		var st *facts
		if st, err = p.facts(); err == nil && st.uid[1] != who.uid {
			err = errGone
		}
		if err != nil {
			p.dir.Close()
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// check refuses callers out of a container or a pen: root's help is for this
// machine's users, and a tool in a pen must not get another pen. userNS is the
// daemon's own user namespace.
func (w *peer) check(userNS uint64, groups *cgroup.Tree) *refusal {
	ns, err := w.proc.namespace("user")
	if err != nil {
		return &refusal{"the caller can't be examined", "call from a process that lives on"}
	}
	if ns != userNS {
		return &refusal{"the caller is in a user namespace of its own", "use --rootless inside containers and pens"}
	}
	if groups == nil {
		return nil
	}
	in, err := groups.HoldsPen(w.pid)
	if err != nil || w.proc.alive() != nil {
		return &refusal{"the caller can't be examined", "call from a process that lives on"}
	}
	if in {
		return &refusal{"the caller is in a session already", "use --rootless inside pens"}
	}
	return nil
}

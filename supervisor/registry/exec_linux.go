package registry

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// further says who goes on with a caller that wants to start a command in a session.
// It is for the session's own user: what root wants to run there is root's, who can
// become that user.
func further(c *net.UnixConn, uid int, s *Status, control Control) (func(*net.UnixConn), error) {
	if uid != s.UID {
		return nil, errors.New("only its own user can run a command in a session")
	}
	if err := near(c); err != nil {
		return nil, fmt.Errorf("a command is not taken %w", err)
	}
	if control.Exec == nil {
		return nil, errors.New("it takes no further command")
	}
	cred, err := peer(c)
	if err != nil {
		return nil, err
	}
	return control.Exec(int(cred.Pid))
}

// Exec asks a session, whose name may be a unique prefix, to take a further command.
// What is said about that over the connection is package execctl's.
func Exec(session string) (*net.UnixConn, Status, error) {
	name, err := find(session)
	if err != nil {
		return nil, Status{}, err
	}
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, Status{}, orGone(name, fmt.Errorf("ask session: %w", err))
	}
	// Nothing is sent behind the answer before this side has spoken.
	a, err := put(c, name, &request{Op: "exec"}, patience)
	if err != nil {
		c.Close()
		return nil, Status{}, orGone(name, err)
	}
	c.SetDeadline(time.Time{})
	return c, *a.Status, nil
}

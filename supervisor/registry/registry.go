// Package registry lets a user list, freeze and end the sessions that are running
// on this machine, and ask for a further command in one.
//
// Each session listens on an abstract unix socket, so that it is listed exactly
// as long as its supervisor lives and a SIGKILL leaves nothing behind. Abstract
// sockets belong to a network namespace: a tool in a pen, which has another,
// can neither see nor reach one, and so can't answer its own questions. The hazard
// is another user of the machine: peer credentials are checked on both ends, and a
// name that somebody else has taken is an error; an answer, or a further command, is
// taken only from the session's own namespaces, in which nothing of a pen is. What a session says of itself is its user's word, and escaped
// where root looks at it. Only supervisor and cmd import it.
package registry

import (
	"net"
	"time"

	"github.com/penstock/penstock/policy/ask"
)

// Status is what a session tells of itself.
type Status struct {
	Session string    `json:"session"`
	PID     int       `json:"pid"`
	UID     int       `json:"uid"`
	Started time.Time `json:"started"`
	Tier    string    `json:"tier"`
	Mode    string    `json:"mode"`
	Workdir string    `json:"workdir"`
	Command []string  `json:"command"`

	// What follows is of the moment that the session was asked.
	State      string        `json:"state"`        // running | frozen
	Memory     uint64        `json:"memory_bytes"` // in use
	PIDs       uint64        `json:"pids"`         // processes and threads
	CPU        time.Duration `json:"cpu_ns"`       // user and system time so far
	Flows      uint64        `json:"flows"`
	Denied     uint64        `json:"denied"`
	Violations uint64        `json:"violations"`
	Supervised bool          `json:"supervised"` // by the privileged supervisor
	Questions  int           `json:"questions"`  // that wait for an answer (penstock approve)
}

// The values of Status.State.
const (
	Running = "running"
	Frozen  = "frozen"
)

// Control is what a session lets its owner, and root, do. Its functions may be
// called from several goroutines.
type Control struct {
	Live   func(*Status)       // fills in what is of the moment; nil: nothing
	Kill   func()              // ends the session; called once at most
	Freeze func(on bool) error // stops the pen, or lets it go on; nil: it can't
	// Questions are those that wait for an answer, Answer gives one; nil: nobody is
	// asked.
	Questions func() []ask.Question
	Answer    func(*ask.Answer) error
	// Exec returns who goes on with a caller that wants to start a further command,
	// and closes the connection; or why there is none. pid is the caller's process. nil:
	// there never is anybody.
	Exec func(pid int) (func(*net.UnixConn), error)
}

// request is one line of JSON; the answer is one line of JSON too.
type request struct {
	Op     string      `json:"op"`               // status | kill | freeze | resume | questions | answer | exec
	Answer *ask.Answer `json:"answer,omitempty"` // whose By is the session's to say
}

type answer struct {
	Status    *Status        `json:"status,omitempty"`
	Questions []ask.Question `json:"questions,omitempty"`
	Error     string         `json:"error,omitempty"`
}

// Bounds of a request and of an answer, in bytes: ask.MaxOpen questions whose every
// byte is escaped fit.
const (
	maxRequest = 64 << 10
	maxAnswer  = 4 << 20
)

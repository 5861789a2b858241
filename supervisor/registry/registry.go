// Package registry lets a user list and end the sessions that are running on
// this machine.
//
// Each session listens on an abstract unix socket, so that it is listed exactly
// as long as its supervisor lives and a SIGKILL leaves nothing behind. Abstract
// sockets belong to a network namespace: a tool in a pen, which has another,
// can neither see nor reach one. The hazard is another user of the machine:
// peer credentials are checked on both ends, and a name that somebody else has
// taken is an error. Only supervisor and cmd import it.
package registry

import "time"

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
}

// request is one line of JSON; the answer is one line of JSON too.
type request struct {
	Op string `json:"op"` // status | kill
}

type answer struct {
	Status *Status `json:"status,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// maxLine bounds a request or answer, in bytes.
const maxLine = 64 << 10

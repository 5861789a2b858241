package registry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds one exchange; both ends are on this machine.
const patience = 2 * time.Second

// freezing bounds one that waits for a pen to stand still.
const freezing = 15 * time.Second

func prefix(uid int) string { return "@penstock/" + strconv.Itoa(uid) + "/" }

// endTime bounds how long Kill waits for a session's end.
const endTime = 20 * time.Second

// waitersMax bounds the callers that may wait for one session's end.
const waitersMax = 64

// Entry is a running session's place in the registry.
type Entry struct {
	l       *net.UnixListener
	done    chan struct{}
	waiters []*net.UnixConn // who asked for the end, and waits for it; serve's until done
	told    sync.Once
}

// Register lists the session until Close.
func Register(s Status, control Control) (*Entry, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: prefix(s.UID) + s.Session, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("register session %s: %w", s.Session, err)
	}
	e := &Entry{l: l, done: make(chan struct{})}
	go e.serve(s, control)
	return e, nil
}

// Close removes the session from the registry, and tells those who asked for its
// end that it has ended. It may be called twice, and at once.
func (e *Entry) Close() error {
	err := e.l.Close()
	<-e.done
	e.told.Do(func() {
		for _, c := range e.waiters {
			c.Close()
		}
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (e *Entry) serve(s Status, control Control) {
	defer close(e.done)
	killed := false
	for {
		c, err := e.l.AcceptUnix()
		if err != nil {
			return
		}
		switch e.answer(c, s, control) {
		case done:
			c.Close()
		case taken: // somebody else's now
		case ending:
			e.waiters = append(e.waiters, c)
			if !killed {
				killed = true
				control.Kill()
			}
		}
	}
}

// What becomes of a caller's connection.
type outcome uint8

const (
	done   outcome = iota // it is answered
	taken                 // it is a conversation of its own now
	ending                // it waits for the session's end
)

// answer handles one caller.
func (e *Entry) answer(c *net.UnixConn, s Status, control Control) outcome {
	c.SetDeadline(time.Now().Add(patience))
	reply := func(a answer) {
		b, _ := json.Marshal(a)
		c.Write(append(b, '\n'))
	}
	uid, err := peerUID(c)
	if err != nil || uid != s.UID && uid != 0 {
		reply(answer{Error: "this session belongs to another user"})
		return done
	}
	line, err := readLine(c, maxRequest)
	var r request
	if err != nil || json.Unmarshal(line, &r) != nil {
		reply(answer{Error: "malformed request"})
		return done
	}
	if r.Op == "questions" || r.Op == "answer" {
		reply(askedFor(c, uid, &r, &s, control))
		return done
	}
	if r.Op == "exec" {
		serve, err := further(c, uid, &s, control)
		if err != nil {
			reply(answer{Error: err.Error()})
			return done
		}
		reply(answer{Status: &s})
		c.SetDeadline(time.Time{})
		go serve(c)
		return taken
	}
	if control.Live != nil {
		control.Live(&s)
	}
	switch r.Op {
	case "status":
		reply(answer{Status: &s})
	case "freeze", "resume":
		c.SetDeadline(time.Now().Add(freezing))
		err := errors.New("this session can't be frozen")
		if control.Freeze != nil {
			err = control.Freeze(r.Op == "freeze")
		}
		if err != nil {
			reply(answer{Error: err.Error()})
			return done
		}
		s.State = Running
		if r.Op == "freeze" {
			s.State = Frozen
		}
		reply(answer{Status: &s})
	case "kill":
		if len(e.waiters) == waitersMax {
			reply(answer{Error: "it has been told to end, and too many wait for that"})
			return done
		}
		reply(answer{Status: &s})
		return ending
	default:
		reply(answer{Error: "unknown request"})
	}
	return done
}

// List returns the caller's running sessions, or everybody's for root, oldest
// first.
func List() ([]Status, error) {
	names, err := names()
	if err != nil {
		return nil, err
	}
	var out []Status
	for _, name := range names {
		s, err := query(name, "status", patience)
		if err != nil {
			continue // it ended meanwhile, or is somebody else's
		}
		out = append(out, *s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Started.Before(out[j].Started) })
	return out, nil
}

// Kill ends a session, and returns when it has ended: its processes are gone and
// its records are written. The name may be a unique prefix.
func Kill(session string) (Status, error) { return one(session, "kill", patience) }

// Freeze stops a session's pen, or lets it go on. The name may be a unique prefix.
func Freeze(session string, on bool) (Status, error) {
	if on {
		return one(session, "freeze", freezing)
	}
	return one(session, "resume", freezing)
}

// one asks the session of a name, or of a unique prefix of it.
func one(session, op string, within time.Duration) (Status, error) {
	name, err := find(session)
	if err != nil {
		return Status{}, err
	}
	s, err := query(name, op, within)
	if err != nil {
		return Status{}, err
	}
	return *s, nil
}

// find returns the socket of a session, or of a unique prefix of its name.
func find(session string) (string, error) {
	names, err := names()
	if err != nil {
		return "", err
	}
	var found []string
	for _, n := range names {
		id := n[strings.LastIndexByte(n, '/')+1:]
		if id == session {
			found = []string{n}
			break
		}
		if session != "" && strings.HasPrefix(id, session) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return "", &NoSessionError{Session: session}
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%q names %d sessions", session, len(found))
}

// NoSessionError says that no running session has the name.
type NoSessionError struct{ Session string }

func (e *NoSessionError) Error() string { return fmt.Sprintf("no running session %q", e.Session) }

// Hint says where the names are.
func (e *NoSessionError) Hint() string { return "penstock ps lists the running sessions" }

func query(name, op string, within time.Duration) (*Status, error) {
	a, err := exchange(name, &request{Op: op}, within)
	if err != nil {
		return nil, err
	}
	return a.Status, nil
}

// exchange asks one session something. One that ends before it has answered is no
// running session.
func exchange(name string, r *request, within time.Duration) (*answer, error) {
	a, err := converse(name, r, within)
	return a, orGone(name, err)
}

// orGone says of an error that there was nobody that no session has the name.
func orGone(name string, err error) error {
	for _, gone := range []error{unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, io.EOF} {
		if errors.Is(err, gone) {
			return &NoSessionError{Session: name[strings.LastIndexByte(name, '/')+1:]}
		}
	}
	return err
}

func converse(name string, r *request, within time.Duration) (*answer, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("ask session: %w", err)
	}
	defer c.Close()
	return put(c, name, r, within)
}

// put asks one thing over c.
func put(c *net.UnixConn, name string, r *request, within time.Duration) (*answer, error) {
	c.SetDeadline(time.Now().Add(within))
	// The name says whose session it is; the kernel says who answers.
	want, err := strconv.Atoi(strings.Split(name, "/")[1])
	if err != nil {
		return nil, fmt.Errorf("ask session: bad name %q", name)
	}
	if uid, err := peerUID(c); err != nil || uid != want {
		return nil, errors.New("ask session: its socket is held by another user")
	}
	b, _ := json.Marshal(r)
	if _, err := c.Write(append(b, '\n')); err != nil {
		return nil, fmt.Errorf("ask session: %w", err)
	}
	line, err := readLine(c, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("ask session: %w", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return nil, fmt.Errorf("ask session: %w", err)
	}
	if a.Error != "" || a.Status == nil {
		return nil, fmt.Errorf("ask session: %s", a.Error)
	}
	if r.Op == "kill" {
		// The end of the connection is the session's.
		c.SetDeadline(time.Now().Add(endTime))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("the session was told to end, and has not within %s", endTime)
		}
	}
	// What it says of itself is for show; whose it is, and which, is not its to say.
	a.Status.UID, a.Status.Session = want, name[strings.LastIndexByte(name, '/')+1:]
	return &a, nil
}

func readLine(r io.Reader, most int64) ([]byte, error) {
	line, err := bufio.NewReader(io.LimitReader(r, most)).ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSpace(line), nil
}

// names lists the sockets that the caller may ask, from /proc/net/unix.
func names() ([]string, error) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	want := prefix(os.Getuid())
	if os.Getuid() == 0 {
		want = "@penstock/"
	}
	seen := map[string]bool{}
	var out []string
	for line := range strings.SplitSeq(string(b), "\n") {
		i := strings.Index(line, want)
		if i < 0 {
			continue
		}
		name := line[i:]
		if strings.Count(name, "/") == 2 && !seen[name] && !strings.ContainsAny(name, " \t") {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out, nil
}

func peerUID(c *net.UnixConn) (int, error) {
	cred, err := peer(c)
	if err != nil {
		return -1, err
	}
	return int(cred.Uid), nil
}

// peer is who the kernel says is at the other end.
func peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	return cred, cerr
}

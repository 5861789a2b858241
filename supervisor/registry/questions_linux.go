package registry

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"

	"github.com/penstock/penstock/policy/ask"
)

// Asked are the questions of one session.
type Asked struct {
	Session   Status         `json:"session"`
	Questions []ask.Question `json:"questions"`
}

// Questions returns what the caller's sessions wait to be told, or everybody's for
// root, the oldest session first. Sessions without a question are left out.
func Questions() ([]Asked, error) {
	list, err := List()
	if err != nil {
		return nil, err
	}
	var out []Asked
	for _, s := range list {
		if s.Questions == 0 {
			continue
		}
		a, err := exchange(prefix(s.UID)+s.Session, &request{Op: "questions"}, patience)
		if err != nil || len(a.Questions) == 0 {
			continue // it ended meanwhile
		}
		for i := range a.Questions {
			// Another user's word, where root asks.
			if err := a.Questions[i].Check(); err != nil {
				return nil, fmt.Errorf("session %s: %w", s.Session, err)
			}
		}
		out = append(out, Asked{s, a.Questions})
	}
	return out, nil
}

// Answer answers a question of a session, whose name may be a unique prefix. Who
// does is what the kernel says, not a.By.
func Answer(session string, a *ask.Answer) error {
	name, err := find(session)
	if err != nil {
		return err
	}
	_, err = exchange(name, &request{Op: "answer", Answer: a}, patience)
	return err
}

// askedFor handles a caller who wants to know the questions, or answers one.
func askedFor(c *net.UnixConn, uid int, r *request, s *Status, control Control) answer {
	if control.Questions == nil || control.Answer == nil {
		return answer{Error: "this session asks nobody"}
	}
	if r.Op == "questions" {
		return answer{Status: s, Questions: control.Questions()}
	}
	if r.Answer == nil {
		return answer{Error: "malformed request"}
	}
	if err := near(c); err != nil {
		return answer{Error: "an answer is not taken " + err.Error() + ": run penstock approve where the session was started"}
	}
	r.Answer.By = who(uid)
	if err := control.Answer(r.Answer); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Status: s}
}

// near refuses a caller in other namespaces than the session's own: nothing that
// runs in a pen may answer what it asked, or start something in another, whatever
// socket it was given.
func near(c *net.UnixConn) error {
	cred, err := peer(c)
	if err != nil {
		return err
	}
	for _, ns := range []string{"user", "net", "pid"} {
		ours, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			return errors.New("from a place that can't be told")
		}
		theirs, err := os.Readlink("/proc/" + strconv.Itoa(int(cred.Pid)) + "/ns/" + ns)
		if err != nil || theirs != ours {
			return errors.New("from another container or pen")
		}
	}
	return nil
}

// who names a user for the record.
func who(uid int) string {
	id := "uid " + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil && len(u.Username) <= 64 {
		return u.Username + " (" + id + ")"
	}
	return id
}

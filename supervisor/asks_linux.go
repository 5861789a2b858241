package supervisor

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/penstock/penstock/policy/ask"
)

// asks tells the user of a question. There is no prompt here: the terminal is the
// command's, and what it shows and reads there is too.
func (s *session) asks(q *ask.Question) {
	id := QuestionID(s.id, q.ID)
	t := q.Target()
	what := strings.TrimSpace(q.Method + " " + q.Protocol + "://" + t.String())
	s.notice(fmt.Sprintf("asks: %s; to answer within %s: penstock approve (question %s)", what, q.Until.Sub(q.Asked), id))
	if !s.cfg.CI {
		go s.notify("Question "+id+" of a pen", what+"\nTo answer: penstock approve")
	}
}

// QuestionID is what a person calls a question of a session by.
func QuestionID(session string, n uint64) string {
	return session[strings.LastIndexByte(session, '-')+1:] + "." + fmt.Sprint(n)
}

// notifier shows a desktop's notifications. A fixed path, because what PATH finds
// could be in the work directory.
const notifier = "/usr/bin/notify-send"

// notify is best effort: there may be no desktop. What is shown of the pen's words
// is canonical, and starts with no letter of markup.
func (s *session) notify(title, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, notifier, "--app-name=penstock", "--expire-time=60000", "--", title, body)
	for _, name := range []string{"DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "HOME", "LANG"} {
		if v := s.cfg.Host.Getenv(name); v != "" {
			c.Env = append(c.Env, name+"="+v)
		}
	}
	c.Dir = "/"
	c.Run() //nolint:errcheck // best effort
}

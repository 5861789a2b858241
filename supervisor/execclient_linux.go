package supervisor

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/penstock/penstock/supervisor/execctl"
	"github.com/penstock/penstock/supervisor/registry"
	"github.com/penstock/penstock/supervisor/terminal"
)

// Exec runs a further command in a running session, whose name may be a unique prefix,
// on the caller's streams, and returns its exit code. An *execctl.Failed says that it
// did not run, or that how it ended is not known, and what the caller exits with.
func Exec(session string, start *execctl.Start, stdio Stdio) (code int, err error) {
	t, err := terminal.New(stdio.In, stdio.Out, stdio.Err)
	if err != nil {
		return 0, err
	}
	defer t.Finish()
	start.Terminal = t.Interactive()
	uc, _, err := registry.Exec(session)
	if err != nil {
		return 0, err
	}
	c := execctl.NewConn(uc)
	defer c.Close()
	// From here on they are the command's.
	sigs := newSignals()
	in, out, errs := t.Files()
	if err := c.Send(&execctl.Message{Start: start}, in, out, errs); err != nil {
		if errors.Is(err, syscall.E2BIG) {
			return 0, &execctl.Failed{Text: fmt.Sprintf("execute %q: %v", start.Argv[0], err), Code: 126}
		}
		return 0, fmt.Errorf("ask session: %w", err)
	}
	if err := t.Started(); err != nil {
		return 0, err
	}
	answers, broken := make(chan *execctl.Message, 1), make(chan error, 1)
	go func() {
		for {
			m, err := c.Recv()
			if err != nil {
				broken <- err
				return
			}
			if !m.Started {
				answers <- m
				return
			}
		}
	}()
	for {
		select {
		case sig := <-sigs.c:
			c.Send(&execctl.Message{Signal: int(sig.(syscall.Signal))}) //nolint:errcheck // then the end is told
		case m := <-answers:
			t.Finish()
			switch {
			case m.Ended != nil:
				return m.Ended.Code, nil
			case m.Failed != nil:
				return 0, m.Failed
			}
			return 0, errors.New("ask session: an answer to nothing")
		case err := <-broken:
			t.Finish()
			if errors.Is(err, io.EOF) {
				return 0, &execctl.Failed{Text: "the session's supervisor has ended, and the command with it", Code: 137}
			}
			return 0, fmt.Errorf("ask session: %w", err)
		}
	}
}

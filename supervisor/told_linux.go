package supervisor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/penstock/penstock/sandbox/posture"
	"github.com/penstock/penstock/supervisor/proxyctl"
)

// toldSize is how much a pipe holds of what the proxy has not read yet, in bytes, if
// the kernel lets us have that.
const toldSize = 1 << 20

// told is a pipe through which a tier's own kernel tells what its processes do, from
// the pen to the proxy, which believes it nothing but that.
type told struct {
	pen, proxy *os.File // nil where the tier tells nothing
	id         posture.FileID
}

// openTold makes the pipe if the tier has something to tell.
func (s *session) openTold() error {
	b, ok := s.backend.(interface{ Traces() bool })
	if !ok || !b.Traces() {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("open a pipe to the proxy: %w", err)
	}
	s.told = told{pen: w, proxy: r}
	s.undo.push(s.told.close)
	unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, toldSize) //nolint:errcheck // then it holds less
	s.told.id, err = posture.Identify(w)
	return err
}

// close closes both ends: each is somebody else's by then.
func (t *told) close() {
	t.pen.Close() // nil is fine
	t.proxy.Close()
}

// given are what the command gets beside its streams.
func (s *session) given() (files []*os.File, ids []posture.FileID) {
	if s.told.pen != nil {
		files, ids = append(files, s.told.pen), append(ids, s.told.id)
	}
	if s.further.pen != nil {
		files, ids = append(files, s.further.pen), append(ids, s.further.id)
	}
	return files, ids
}

// tells has the proxy read the pipe.
func (s *session) tells(cfg *proxyctl.Config, files map[string]*os.File) {
	if s.told.proxy != nil {
		files[proxyctl.FileTold], cfg.Tier = s.told.proxy, s.backend.Name()
	}
}

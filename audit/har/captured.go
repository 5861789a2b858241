package har

import (
	"errors"
	"io/fs"
	"os"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/capture"
)

// captures reads what was captured, one session after the other.
type captures struct {
	store   *audit.Store
	session string
	file    *os.File
	index   *capture.Index // nil: the session has none
}

func (c *captures) of(session string, flow uint64) (*capture.Exchange, error) {
	if session != c.session {
		c.close()
		c.session = session
		var err error
		if c.file, err = c.store.OpenCapture(session); err == nil {
			c.index, err = capture.Read(c.file)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if c.index == nil {
		return nil, nil //nolint:nilnil // as Index.Of
	}
	return c.index.Of(flow)
}

func (c *captures) close() {
	if c.file != nil {
		c.file.Close()
	}
	c.file, c.index = nil, nil
}

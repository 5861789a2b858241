package chain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"

	"github.com/penstock/penstock/hooks"
)

// fits says why what a hook has made of a body can't be passed on.
func fits(r *hooks.Request, c *hooks.Change) error {
	b := r.Body
	switch {
	case len(c.Set)+len(c.Remove) > 0:
		return errChange
	case b == nil || r.Point.Spoken() || b.Offset > 0 || b.Seen > 0 || !b.Last:
		return errBodyPoint
	case partial(r):
		return errBodyRange
	case b.Room <= 0:
		return errBodyLeave
	case int64(len(c.Body)) > b.Room:
		return errBodySize
	}
	return nil
}

// partial says whether a body is a part of another one (RFC 9110 sections 14.4 and 14.5,
// RFC 3229 section 10.4.1).
func partial(r *hooks.Request) bool {
	h := r.Header
	if p := r.Response; p != nil {
		if p.Status == http.StatusPartialContent || p.Status == http.StatusIMUsed {
			return true
		}
		h = p.Header
	}
	return len(h["Content-Range"]) > 0
}

// room is how many bytes the hook may make of a body that it is asked about.
func (x *part) room(b *hooks.Body) int64 {
	if !x.l.Inspect.Change || x.l.Inspect.Stream || x.q.Point.Spoken() || !b.Last || b.Encoding != "" || partial(&x.q) {
		return 0
	}
	return x.max()
}

// rewritten is what is told of a body that has become another; nil: it has not.
func rewritten(before, after []byte) *hooks.Rewritten {
	if bytes.Equal(before, after) {
		return nil
	}
	sum := sha256.Sum256(after)
	return &hooks.Rewritten{Before: int64(len(before)), After: int64(len(after)), SHA256: hex.EncodeToString(sum[:])}
}

// replace has another body passed on than the one that was read, of which nothing is.
func (x *part) replace(body []byte) {
	if !x.hold(int64(len(body))) {
		x.fail(errHeld)
		return
	}
	x.made = append([]byte{}, body...) // a hook's own memory may become something else
	x.window, x.dec, x.ready, x.free, x.err = nil, nil, x.made, true, io.EOF
	*x.plain = true
}

// Changed returns the body that hooks have made of the one that was read, if any has:
// that is what is to be passed on, without the encoding and the trailers of the old one.
// Those that are about it as a whole have been asked (Begin), each about what the one
// before made of it. It belongs to who called. Nobody has judged it as it is now but the
// hook that made it and those behind: see InspectChanged.
func (b *Body) Changed() ([]byte, bool) {
	for i := len(b.parts) - 1; i >= 0; i-- {
		if x := b.parts[i]; x.made != nil {
			return x.made, true
		}
	}
	return nil, false
}

// InspectChanged is Inspect for what hooks have made of a body: it is not encoded and has no
// trailers, and a hook that makes something else of it denies it.
func (c *Chain) InspectChanged(ctx context.Context, q *hooks.Request, src io.Reader, held *Held) *Body {
	b := c.Inspect(ctx, q, src, "", nil, held)
	if b != nil {
		for _, x := range b.parts {
			x.settled = true
		}
	}
	return b
}

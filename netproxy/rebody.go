package netproxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/chain"
)

// The fields of a message that are about the bytes of its body, or about its encoding:
// they say nothing true of another one (RFC 1864, 3230, 9110, 9530). What signs them is
// wrong without them; that is for the other side to say.
var (
	bodyFields        = []string{"Content-Encoding", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest", "X-Goog-Hash", "X-Amz-Trailer", "X-Amz-Decoded-Content-Length", "Trailer"}
	bodyFieldPrefixes = []string{"X-Amz-Checksum-", "X-Amz-Sdk-Checksum-"}
	// Of an answer also what says which version of it this is, and which others there are.
	versionFields = []string{"Etag", "Last-Modified", "Accept-Ranges", "Signature", "Signature-Input"}
)

// reframe returns a header as it is about a body of another length.
func reframe(h http.Header, size int, more ...string) http.Header {
	out := h.Clone()
	for _, name := range append(more, bodyFields...) {
		delete(out, name)
	}
	for name := range out {
		for _, prefix := range bodyFieldPrefixes {
			if strings.HasPrefix(name, prefix) {
				delete(out, name)
			}
		}
	}
	out["Content-Length"] = []string{strconv.Itoa(size)}
	return out
}

// awsHash is where a request to AWS says what its body is, before it is signed.
const awsHash = "X-Amz-Content-Sha256"

// reupload has a request leave with what hooks have made of its body. It is judged like
// one that the pen has sent, from the beginning: by the rules, by the hooks about requests
// and by all about bodies. It returns nil if it may leave; else what the pen is told.
func (f *flow) reupload(r *http.Request, was *inspected, body []byte) *http.Response {
	trace := was.Traces()
	was.Body.Close()
	f.inspects = nil
	f.open.Hooks = append(f.open.Hooks, trace...)
	refused := func(why string) *http.Response {
		by := chain.Rewriter(trace)
		f.overrule(hooks.Decision{Rule: f.gen.hooks.Rule(by), Reason: "hook " + by + " changes the body, " + why})
		return f.deny(r, f.said())
	}
	f.holds += int64(len(body))
	if f.p.held.Add(int64(len(body))) > maxHeld {
		return refused("and " + errTooMuchHeld.Error())
	}
	h := reframe(r.Header, len(body))
	if said := h[awsHash]; len(said) > 0 {
		if len(said) > 1 || strings.HasPrefix(said[0], "STREAMING-") {
			return refused("which is signed in parts")
		}
		if len(said[0]) == hex.EncodedLen(sha256.Size) {
			sum := sha256.Sum256(body)
			h[awsHash] = []string{hex.EncodeToString(sum[:])}
		}
	}
	// A placeholder is where the pen could have put it, too, or not in there.
	scanned, deferred := f.p.cfg.Secrets.Body(io.NopCloser(bytes.NewReader(body)), h, f.req.Target)
	if !deferred {
		if _, err := io.Copy(io.Discard, scanned); err != nil {
			return refused("to what can't leave: " + err.Error())
		}
	}
	f.web.body.deferred = deferred
	f.rewritten = true
	r.Header, r.Trailer, r.TransferEncoding, r.ContentLength = h, nil, nil, int64(len(body))
	f.req.Header, f.req.Size = h, r.ContentLength
	r.Body = http.NoBody
	if len(body) > 0 {
		r.Body = &heldBody{f: f, body: was.body, held: body, all: true, err: io.EOF}
	}
	if resp := f.decide(r); resp != nil {
		return resp
	}
	if resp := f.pinned(r); resp != nil {
		return resp
	}
	return f.inspectUpload(r, true)
}

// redownload has an answer pass with what hooks have made of its body, if any has made
// anything. An error is why it may not.
func (f *flow) redownload(r *http.Request, resp *http.Response, was *inspected) error {
	body, ok := was.Changed()
	if !ok {
		return nil
	}
	resp.Header = reframe(resp.Header, len(body), versionFields...)
	resp.Trailer, resp.TransferEncoding, resp.ContentLength = nil, nil, int64(len(body))
	if len(body) == 0 {
		resp.Body = http.NoBody
		return was.Close()
	}
	b := f.inspect(r, f.responded(hooks.PointResponseBody, resp), readCloser{bytes.NewReader(body), was}, resp.Header, &resp.Trailer, true)
	resp.Body = b
	return b.begin()
}

// readCloser reads from one thing, and closes another.
type readCloser struct {
	io.Reader
	io.Closer
}

package wasm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/penstock/penstock/sandbox/wasm"
)

// Import is the name of the host module whose functions make requests:
//
//	http_send(head, head_len, body, body_len i32) i32
//	http_head(response, to, cap i32) i32
//	http_body(response, to, cap i32) i32
//	http_close(response i32) i32
//
// http_send makes one request and returns the number of its response. head is a
// Request in JSON. http_head writes a Head in JSON and returns its length, of which
// nothing is written if it is more than cap; http_body writes the next bytes of the
// body and returns how many, 0 at its end. A negative result is a failure, see
// Failed and the others. A denied request has the proxy's answer, with status 403.
const Import = "penstock"

// Results of the functions of Import.
const (
	Failed   = -1 // there was no answer
	BadCall  = -2 // an argument makes no sense
	TooMany  = -3 // maxResponses are open
	notThere = -4 // no such response
	Unlisted = -5 // the module's manifest does not list the host
)

// Bounds of a module's requests.
const (
	maxHead      = 64 << 10
	maxBody      = 16 << 20
	maxResponses = 64
	maxChunk     = 1 << 20
)

// Request is what a module asks for.
type Request struct {
	Method  string              `json:"method"`
	URL     string              `json:"url"`
	Headers map[string][]string `json:"headers,omitempty"`
}

// Head is the beginning of an answer.
type Head struct {
	Status  int                 `json:"status"`
	Headers map[string][]string `json:"headers"`
}

// web makes a module's requests. Modules have one thread.
type web struct {
	transport http.RoundTripper
	manifest  *wasm.Manifest // nil: none
	open      map[uint32]*http.Response
	last      uint32
}

func newWeb(cfg *wasm.Config) (*web, error) {
	proxy, err := url.Parse(cfg.Proxy)
	if err != nil || proxy.Host == "" {
		return nil, errors.New("the pen's proxy has no address")
	}
	pem, err := os.ReadFile(cfg.Roots)
	if err != nil {
		return nil, fmt.Errorf("read the pen's certificates: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the pen has no certificates")
	}
	return &web{
		transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxResponseHeaderBytes: maxHead},
		open: map[uint32]*http.Response{},
	}, nil
}

// export makes the functions of Import.
func (w *web) export(ctx context.Context, rt wazero.Runtime) error {
	_, err := rt.NewHostModuleBuilder(Import).
		NewFunctionBuilder().WithFunc(w.send).Export("http_send").
		NewFunctionBuilder().WithFunc(w.head).Export("http_head").
		NewFunctionBuilder().WithFunc(w.body).Export("http_body").
		NewFunctionBuilder().WithFunc(w.close).Export("http_close").
		Instantiate(ctx)
	if err != nil {
		return fmt.Errorf("make host module %s: %w", Import, err)
	}
	return nil
}

func (w *web) send(ctx context.Context, m api.Module, head, headLen, body, bodyLen uint32) int32 {
	if m.Memory() == nil || headLen > maxHead || bodyLen > maxBody {
		return BadCall
	}
	if len(w.open) >= maxResponses {
		return TooMany
	}
	doc, ok := m.Memory().Read(head, headLen)
	if !ok {
		return BadCall
	}
	content, ok := m.Memory().Read(body, bodyLen)
	if !ok {
		return BadCall
	}
	var q Request
	if json.Unmarshal(doc, &q) != nil {
		return BadCall
	}
	// Its memory is its own: what it writes there later is not sent.
	r, err := http.NewRequestWithContext(ctx, q.Method, q.URL, bytes.NewReader(bytes.Clone(content)))
	if err != nil || r.URL.Scheme != "http" && r.URL.Scheme != "https" || r.URL.Host == "" {
		return BadCall
	}
	if w.manifest != nil && !w.manifest.Host(r.URL.Hostname()) {
		return Unlisted
	}
	for k, list := range q.Headers {
		for _, v := range list {
			r.Header.Add(k, v)
		}
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "")
	}
	resp, err := w.transport.RoundTrip(r)
	if err != nil {
		return Failed
	}
	for {
		if w.last = (w.last + 1) & math.MaxInt32; w.last != 0 && w.open[w.last] == nil {
			break
		}
	}
	w.open[w.last] = resp
	return int32(w.last)
}

func (w *web) head(_ context.Context, m api.Module, response, to, room uint32) int32 {
	resp := w.open[response]
	if resp == nil {
		return notThere
	}
	doc, err := json.Marshal(&Head{resp.StatusCode, resp.Header})
	if err != nil {
		return Failed
	}
	if len(doc) <= int(room) && (m.Memory() == nil || !m.Memory().Write(to, doc)) {
		return BadCall
	}
	return int32(len(doc))
}

func (w *web) body(_ context.Context, m api.Module, response, to, room uint32) int32 {
	resp := w.open[response]
	if resp == nil {
		return notThere
	}
	if m.Memory() == nil || room == 0 {
		return BadCall
	}
	buf, ok := m.Memory().Read(to, min(room, maxChunk))
	if !ok {
		return BadCall
	}
	for {
		n, err := resp.Body.Read(buf)
		switch {
		case n > 0:
			return int32(n)
		case errors.Is(err, io.EOF):
			return 0
		case err != nil:
			return Failed
		}
	}
}

func (w *web) close(_ context.Context, response uint32) int32 {
	resp := w.open[response]
	if resp == nil {
		return notThere
	}
	delete(w.open, response)
	resp.Body.Close()
	return 0
}

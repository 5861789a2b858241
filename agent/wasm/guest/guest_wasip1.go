package guest

import (
	"encoding/json"
	"errors"
	"io"
	"unsafe"
)

//go:wasmimport penstock http_send
func httpSend(head unsafe.Pointer, headLen uint32, body unsafe.Pointer, bodyLen uint32) int32

//go:wasmimport penstock http_head
func httpHead(response int32, to unsafe.Pointer, room uint32) int32

//go:wasmimport penstock http_body
func httpBody(response int32, to unsafe.Pointer, room uint32) int32

//go:wasmimport penstock http_close
func httpClose(response int32) int32

// Response is the answer to a request. Body must be closed.
type Response struct {
	Status int
	Header map[string][]string
	Body   io.ReadCloser
}

// Send makes one request: an absolute http or https URL, a header of at most 64 KiB
// with it, a body of at most 16 MiB. It follows no redirect.
func Send(method, url string, header map[string][]string, body []byte) (*Response, error) {
	doc, err := json.Marshal(struct {
		Method  string              `json:"method"`
		URL     string              `json:"url"`
		Headers map[string][]string `json:"headers,omitempty"`
	}{method, url, header})
	if err != nil {
		return nil, err
	}
	n := httpSend(unsafe.Pointer(unsafe.SliceData(doc)), uint32(len(doc)), unsafe.Pointer(unsafe.SliceData(body)), uint32(len(body)))
	if n < 0 {
		return nil, failure(n)
	}
	r := &Response{Body: &reader{n, nil}}
	head := make([]byte, 4<<10)
	for {
		size := httpHead(n, unsafe.Pointer(unsafe.SliceData(head)), uint32(len(head)))
		if size < 0 {
			return nil, errors.Join(failure(size), r.Body.Close())
		}
		if int(size) > len(head) {
			head = make([]byte, size)
			continue
		}
		var h struct {
			Status  int                 `json:"status"`
			Headers map[string][]string `json:"headers"`
		}
		if err := json.Unmarshal(head[:size], &h); err != nil {
			return nil, errors.Join(err, r.Body.Close())
		}
		r.Status, r.Header = h.Status, h.Headers
		return r, nil
	}
}

// failure is a negative result.
func failure(n int32) error {
	switch n {
	case -2:
		return errors.New("penstock: the request makes no sense")
	case -3:
		return errors.New("penstock: too many responses are open")
	case -4:
		return errors.New("penstock: the response is closed")
	case -5:
		return errors.New("penstock: the module's manifest does not list the host")
	}
	return errors.New("penstock: no answer")
}

type reader struct {
	response int32
	err      error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n := httpBody(r.response, unsafe.Pointer(unsafe.SliceData(p)), uint32(len(p)))
	switch {
	case n == 0:
		r.err = io.EOF
	case n < 0:
		r.err = failure(n)
	default:
		return int(n), nil
	}
	return 0, r.err
}

func (r *reader) Close() error {
	if errors.Is(r.err, io.ErrClosedPipe) {
		return nil
	}
	r.err = io.ErrClosedPipe
	if n := httpClose(r.response); n < 0 {
		return failure(n)
	}
	return nil
}

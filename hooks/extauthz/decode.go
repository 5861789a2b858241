package extauthz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/penstock/penstock/hooks"
)

var (
	errMalformed = errors.New("its answer is no CheckResponse")
	errUnknown   = errors.New("its answer has something that is not known")
	errBoth      = errors.New("its answer has an outcome that does not go with its status")
	errChange    = errors.New("its answer would change the request, which a service of gRPC can't")
	errStatus    = errors.New("its answer has no status")
)

// value is one field of a message that is read.
type value struct {
	field int
	n     uint64 // of a varint
	b     []byte // of bytes, a text or a message
	part  bool   // it is one of these
}

// read calls f with each field of a message. Groups are not read, and no field but
// those in many is there twice: of two, readers may believe a different one.
func read(b []byte, many int, f func(value) error) error {
	seen := map[int]bool{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errMalformed
		}
		b = b[n:]
		v := value{field: int(tag >> 3)}
		switch tag & 7 {
		case varint:
			if v.n, n = binary.Uvarint(b); n <= 0 {
				return errMalformed
			}
		case bytesT:
			size, m := binary.Uvarint(b)
			if m <= 0 || size > uint64(len(b)-m) {
				return errMalformed
			}
			n = m + int(size)
			v.b, v.part = b[m:n], true
		case fixed8:
			n = 8
		case fixed4:
			n = 4
		default:
			return errMalformed
		}
		if n > len(b) || seen[v.field] && v.field != many {
			return errMalformed
		}
		b, seen[v.field] = b[n:], true
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}

// message checks that a field is one that holds another message or a text.
func (v value) message() ([]byte, error) {
	if !v.part {
		return nil, errMalformed
	}
	return v.b, nil
}

func (v value) string(to *string) error {
	if !v.part || !utf8.Valid(v.b) {
		return errMalformed
	}
	*to = string(v.b)
	return nil
}

// answer reads a CheckResponse.
func answer(doc []byte) (hooks.Decision, error) {
	var status, denied, ok []byte
	var hasStatus, isDenied, isOK bool
	err := read(doc, 0, func(v value) (err error) {
		switch v.field {
		case 1:
			hasStatus = true
			status, err = v.message()
		case 2:
			isDenied = true
			denied, err = v.message()
		case 3:
			isOK = true
			ok, err = v.message()
		case 4: // dynamic_metadata: for other filters of Envoy
		default:
			err = errUnknown
		}
		return err
	})
	if err != nil {
		return hooks.Decision{}, err
	}
	if !hasStatus {
		return hooks.Decision{}, errStatus
	}
	code, reason, err := rpcStatus(status)
	switch {
	case err != nil:
		return hooks.Decision{}, err
	case isDenied && (isOK || code == 0), isOK && code != 0:
		return hooks.Decision{}, errBoth
	case code == 0:
		if err := unchanged(ok); err != nil {
			return hooks.Decision{}, err
		}
		return hooks.Decision{Action: hooks.Next}, nil
	}
	d := hooks.Decision{Reason: reason}
	if d.Reason == "" {
		d.Reason = "status " + strconv.FormatInt(int64(int32(code)), 10) + " of gRPC"
	}
	if a, err := response(denied); err != nil {
		return hooks.Decision{}, err
	} else if a != nil {
		d.Action, d.Answer = hooks.Reply, a
	}
	return d, nil
}

// rpcStatus reads a google.rpc.Status.
func rpcStatus(b []byte) (code uint64, text string, err error) {
	err = read(b, 3, func(v value) error {
		switch v.field {
		case 1:
			if v.part {
				return errMalformed
			}
			code = v.n
			return nil
		case 2:
			return v.string(&text)
		case 3: // details
			return nil
		}
		return errUnknown
	})
	return code, text, err
}

// unchanged reads an OkHttpResponse, of which nothing can be obeyed.
func unchanged(b []byte) error {
	return read(b, 0, func(v value) error {
		if v.field != 3 { // dynamic_metadata, deprecated
			return errChange
		}
		return nil
	})
}

// response reads a DeniedHttpResponse; nil is one that says no more than a deny.
func response(b []byte) (*hooks.Answer, error) {
	a := &hooks.Answer{Header: http.Header{}}
	var body string
	err := read(b, 2, func(v value) error {
		switch v.field {
		case 1:
			m, err := v.message()
			if err != nil {
				return err
			}
			return read(m, 0, func(v value) error {
				if v.field != 1 || v.part || v.n > 599 {
					return errMalformed
				}
				a.Status = int(v.n)
				return nil
			})
		case 2:
			m, err := v.message()
			if err != nil {
				return err
			}
			return field(m, a.Header)
		case 3:
			return v.string(&body)
		}
		return errUnknown
	})
	if err != nil {
		return nil, err
	}
	if a.Status == 0 {
		a.Status = http.StatusForbidden // Envoy's default
	}
	if a.Status == http.StatusForbidden && body == "" {
		return nil, nil //nolint:nilnil // there is nothing to be told
	}
	if len(body) > hooks.MaxAnswer {
		return nil, fmt.Errorf("its reply has more than %d bytes", hooks.MaxAnswer)
	}
	a.Body = []byte(body)
	return a, nil
}

// field reads a HeaderValueOption. Whether it adds to others has no meaning here:
// there are none.
func field(b []byte, to http.Header) error {
	return read(b, 0, func(v value) error {
		if v.field != 1 {
			return nil
		}
		m, err := v.message()
		if err != nil {
			return err
		}
		var key, text string
		err = read(m, 0, func(v value) error {
			switch v.field {
			case 1:
				return v.string(&key)
			case 2, 3: // 3 is raw
				return v.string(&text)
			}
			return errUnknown
		})
		if err == nil && key != "" {
			to.Add(key, text)
		}
		return err
	})
}

package extauthz

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/protobuf"
)

var (
	errMalformed = errors.New("its answer is no CheckResponse")
	errUnknown   = errors.New("its answer has something that is not known")
	errBoth      = errors.New("its answer has an outcome that does not go with its status")
	errChange    = errors.New("its answer would change the request, which a service of gRPC can't")
	errStatus    = errors.New("its answer has no status")
)

// answer reads a CheckResponse.
func answer(doc []byte) (hooks.Decision, error) {
	d, err := checked(doc)
	if errors.Is(err, protobuf.ErrMalformed) {
		err = errMalformed
	}
	return d, err
}

func checked(doc []byte) (hooks.Decision, error) {
	var status, denied, ok []byte
	var hasStatus, isDenied, isOK bool
	err := protobuf.Read(doc, func(v protobuf.Value) (err error) {
		switch v.Field {
		case 1:
			hasStatus = true
			status, err = v.Bytes()
		case 2:
			isDenied = true
			denied, err = v.Bytes()
		case 3:
			isOK = true
			ok, err = v.Bytes()
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
	err = protobuf.Read(b, func(v protobuf.Value) (err error) {
		switch v.Field {
		case 1:
			code, err = v.Number()
		case 2:
			text, err = v.Text()
		case 3: // details
		default:
			err = errUnknown
		}
		return err
	}, 3)
	return code, text, err
}

// unchanged reads an OkHttpResponse, of which nothing can be obeyed.
func unchanged(b []byte) error {
	return protobuf.Read(b, func(v protobuf.Value) error {
		if v.Field != 3 { // dynamic_metadata, deprecated
			return errChange
		}
		return nil
	})
}

// response reads a DeniedHttpResponse; nil is one that says no more than a deny.
func response(b []byte) (*hooks.Answer, error) {
	a := &hooks.Answer{Header: http.Header{}}
	var body string
	err := protobuf.Read(b, func(v protobuf.Value) (err error) {
		switch v.Field {
		case 1:
			m, err := v.Bytes()
			if err != nil {
				return err
			}
			return protobuf.Read(m, func(v protobuf.Value) error {
				n, err := v.Number()
				if err != nil || v.Field != 1 || n > 599 {
					return protobuf.ErrMalformed
				}
				a.Status = int(n)
				return nil
			})
		case 2:
			m, err := v.Bytes()
			if err != nil {
				return err
			}
			return field(m, a.Header)
		case 3:
			body, err = v.Text()
			return err
		}
		return errUnknown
	}, 2)
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
	return protobuf.Read(b, func(v protobuf.Value) error {
		if v.Field != 1 {
			return nil
		}
		m, err := v.Bytes()
		if err != nil {
			return err
		}
		var key, text string
		err = protobuf.Read(m, func(v protobuf.Value) (err error) {
			switch v.Field {
			case 1:
				key, err = v.Text()
			case 2, 3: // 3 is raw
				text, err = v.Text()
			default:
				err = errUnknown
			}
			return err
		})
		if err == nil && key != "" {
			to.Add(key, text)
		}
		return err
	})
}

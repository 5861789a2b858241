package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 256 << 10

// maxLife bounds how long a value may say that it lives: durations must not overflow.
const maxLife = 10 * 365 * 24 * time.Hour

// statusError is an answer that is not 200.
type statusError struct {
	status int
	code   string // of RFC 6749, "" for none
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the answer has status %d", e.status)
	if e.code != "" {
		s += " (" + e.code + ")"
	}
	if e.status >= 300 && e.status < 400 {
		s += ", and redirects are not followed"
	}
	return s
}

// ask sends one request and decodes a JSON answer into out.
func ask(ctx context.Context, rt http.RoundTripper, r *http.Request, out any) error {
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "penstock")
	r.GetBody = nil // no second time
	resp, err := rt.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("it can't be asked: %w", err)
	}
	defer resp.Body.Close()
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	doc, rerr := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	defer clear(doc)
	isJSON := err == nil && kind == "application/json" && rerr == nil && len(doc) <= maxAnswer
	if resp.StatusCode != http.StatusOK {
		e := &statusError{status: resp.StatusCode}
		var said struct {
			Error string `json:"error"`
		}
		if isJSON && json.Unmarshal(doc, &said) == nil && knownCode(said.Error) {
			e.code = said.Error
		}
		return e
	}
	switch {
	case rerr != nil:
		return errors.New("the answer does not end well")
	case len(doc) > maxAnswer:
		return fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case !isJSON:
		return errors.New("the answer is not application/json")
	case json.Unmarshal(doc, out) != nil: // whose words could quote it
		return errors.New("the answer is not of the form that it should have")
	}
	return nil
}

// knownCode knows the error codes of RFC 6749, 5.2: the only words of an answer that
// are repeated.
func knownCode(s string) bool {
	switch s {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return true
	}
	return false
}

// life reads seconds, which some servers write as text; 0 is what nobody said.
type life time.Duration

func (l *life) UnmarshalJSON(doc []byte) error {
	var n json.Number
	var s string
	if err := json.Unmarshal(doc, &s); err == nil {
		n = json.Number(s)
	} else if err := json.Unmarshal(doc, &n); err != nil {
		return errors.New("not a number")
	}
	f, err := n.Float64()
	if n == "" {
		return nil // also null
	}
	if err != nil || f < 0 {
		return errors.New("not a number of seconds")
	}
	*l = life(time.Duration(min(f, maxLife.Seconds()) * float64(time.Second)))
	return nil
}

package webhook

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks/hookstest"
)

// TestDocumentedAnswer asks the program of docs/hooks.md over TLS.
func TestDocumentedAnswer(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is missing")
		}
		t.Skip("python3 is missing: apt-get install python3")
	}
	text, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## Webhooks\n")
	_, program, _ := strings.Cut(after, "```python\n")
	program, _, ok := strings.Cut(program, "```\n")
	if !ok {
		t.Fatal("no program in hooks.md")
	}
	program += `
import sys
status, body = answer(sys.argv[1], sys.argv[2], sys.stdin.buffer.read())
sys.stdout.buffer.write(str(status).encode() + b"\n" + body)
`
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cmd := exec.Command(python, "-c", program, r.Header.Get(TimeHeader), r.Header.Get(SignatureHeader))
		cmd.Stdin, cmd.Env = r.Body, []string{"SOC_KEY=" + string(key)}
		out, err := cmd.Output()
		status, body, _ := bytes.Cut(out, []byte("\n"))
		code, _ := strconv.Atoi(string(status))
		if err != nil || code == 0 {
			t.Errorf("%v: %s", err, out)
			code = 500
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		io.Copy(w, bytes.NewReader(body)) //nolint:errcheck // the client sees it
	}))
	defer s.Close()
	for _, c := range []struct {
		method string
		key    []byte
		want   string
	}{
		{"GET", key, "next <nil>"}, {"DELETE", key, "deny nothing is deleted from here <nil>"},
		{"GET", []byte("another key of sixteen bytes"), "deny it answered with status 403"},
	} {
		h, err := New("soc", s.URL, c.key, s.Client().Transport)
		if err != nil {
			t.Fatal(err)
		}
		r := hookstest.Request()
		r.Method = c.method
		d, err := h.Decide(t.Context(), r)
		if got := strings.Join(strings.Fields(fmt.Sprint(d.Action, " ", d.Reason, " ", err)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.method, got, c.want)
		}
	}
}

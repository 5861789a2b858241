package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestSecretRotation: files and commands give other values while a session runs, by
// whoever is asked: the pen has its placeholder and goes on.
func TestSecretRotation(t *testing.T) {
	world.Tool(t, "curl")
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	for name, o := range world.Users() {
		t.Run(name, func(t *testing.T) {
			const first, second, third = "rotated-value-number-1", "rotated-value-number-2", "rotated-value-number-3"
			w := world.New(t)
			p := newPen(t, w)
			p.Opts = o
			p.Home = w.NewHome(o)
			key := p.Home.Write(t, ".config/key", first+"\n")
			count := p.Home.Write(t, ".config/count", "")
			planted := p.Home.Write(t, "project/key", "value-in-the-work-directory")
			p.Home.Own(t)
			replace := func(v string) {
				if err := os.WriteFile(key+".new", []byte(v), 0o644); err == nil {
					err = os.Rename(key+".new", key)
					if err != nil {
						t.Error(err)
					}
				}
			}
			said := &awaited{line: "secret KEY could not be read anew, so the old value is kept", told: make(chan struct{})}
			w.HTTPS("api.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/rotate":
					replace(second + "\n")
				case "/break":
					replace("no\nvalue")
				case "/mend":
					// Not before it has been found broken.
					select {
					case <-said.told:
					case <-r.Context().Done():
					}
					replace(third)
				case "/old":
					fmt.Fprintln(rw, first)
				case "/old64":
					fmt.Fprintln(rw, base64.StdEncoding.EncodeToString([]byte("x:"+first)))
				}
				switch r.Header.Get("X-Key") {
				case first:
					fmt.Fprintln(rw, "first")
				case second:
					fmt.Fprintln(rw, "second")
				case third:
					fmt.Fprintln(rw, "third")
				}
				fmt.Fprintln(rw, "count", len(r.Header.Get("X-Count")))
				if v := r.Header.Get("X-Planted"); v != "" {
					fmt.Fprintln(rw, "planted", v == "value-in-the-work-directory")
				}
			}))
			policy := p.Home.Write(t, "policy.yaml", fmt.Sprintf(`version: 1
egress: {allow: [{host: api.example.com}]}
secrets:
  - {name: KEY, from: "file:%s", hosts: [api.example.com], header: x-key}
  - {name: COUNT, from: {command: [sh, -c, 'printf x >>%s; cat %[2]s'], every: 1s}, hosts: [api.example.com], header: x-count}
  - {name: PLANTED, from: "file:%s", hosts: [api.example.com], header: x-planted}
`, key, count, planted))
			var out bytes.Buffer
			cmd := w.Command(p.Home, o, world.Penstock(t), "run", "-v", "--policy", policy, "--ca", w.CA(), "--", "/bin/bash", "-c", `
get() { curl -sS -H "x-key: $KEY" "https://api.example.com$1"; }
until_says() { until get / | grep -q "$1"; do :; done; echo "now $1"; }
before=$KEY
get /rotate
until_says second
get /old; echo; get /old64; echo
get /break
until [ "$(curl -sS -H "x-count: $COUNT" https://api.example.com/ | cut -d' ' -f2)" -ge 3 ]; do :; done; echo "counted to 3"
get /mend
until_says third
# The pen can lead its own file to another; it is not followed.
ln -sf /etc/passwd key; curl -sS -H "x-planted: $PLANTED" https://api.example.com/
[ "$before" = "$KEY" ] && echo same placeholder`)
			cmd.Stdout, cmd.Stderr = &out, said
			if err := world.Start(cmd); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			r := world.Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: said.all.String()}
			if err != nil {
				t.Fatal(r)
			}
			rest := r.Stdout
			for _, want := range []string{"first", "now second", "second", "counted to 3", "now third", "planted true", "same placeholder"} {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Errorf("no %q in its turn\n%s", want, r)
					break
				}
				rest = after
			}
			for _, want := range []string{"secret KEY could not be read anew, so the old value is kept", "secret PLANTED is not read anew"} {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("not said: %q\n%s", want, r.Stderr)
				}
			}
			show := w.Run(p.Home, o, world.Penstock(t), "audit", "show", "--events")
			recorded := strings.Join(strings.Fields(show.Stdout), " ")
			for _, want := range []string{"secret KEY renewed", "secret KEY failed", "secret COUNT renewed"} {
				if !strings.Contains(recorded, want) {
					t.Errorf("not recorded: %q\n%s", want, show)
				}
			}
			// The former value was withheld, plain and in base64.
			if n := strings.Count(recorded, "VIOLATION secret-reflected the answer's body holds the real value of secret KEY"); n != 2 {
				t.Errorf("%d reflections\n%s", n, show)
			}
			if v := w.Run(p.Home, o, world.Penstock(t), "audit", "verify"); v.Code != 0 {
				t.Error(v)
			}
			written := map[string]string{"the command's output": r.Stdout, "what was said": r.Stderr, "the audit": show.Stdout}
			filepath.Walk(filepath.Join(p.Home.Path, ".local"), func(name string, fi os.FileInfo, err error) error { //nolint:errcheck // what can't be read holds nothing
				if err == nil && fi.Mode().IsRegular() {
					b, _ := os.ReadFile(name)
					written[name] = string(b)
				}
				return nil
			})
			for name, text := range written {
				for _, v := range []string{first, second, third, "no\nvalue", base64.StdEncoding.EncodeToString([]byte(third))} {
					if strings.Contains(text, v) {
						t.Errorf("%s has the value %q", name, v)
					}
				}
			}
		})
	}
}

// awaited is what a command says, and tells when a line of it is there.
type awaited struct {
	line string
	told chan struct{}
	all  bytes.Buffer
	once sync.Once
}

func (a *awaited) Write(b []byte) (int, error) {
	a.all.Write(b)
	if bytes.Contains(a.all.Bytes(), []byte(a.line)) {
		a.once.Do(func() { close(a.told) })
	}
	return len(b), nil
}

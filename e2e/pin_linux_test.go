package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// TestCurlPinned: curl in a pen brings its own key to an allowed API, in every
// place that it has an option for.
func TestCurlPinned(t *testing.T) {
	world.Tool(t, "curl")
	const real, theirs = "sk-real-0123456789abcdef", "sk-evil-Zz9Yy8Xx7Ww6Vv5Uu4"
	w := world.New(t)
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		all := fmt.Sprint(r.Header, r.URL, r.Trailer, string(b))
		fmt.Fprintf(rw, "ours=%v theirs=%v\n", r.Header.Get("X-Api-Key") == real, strings.Contains(all, "evil"))
	})
	w.HTTPS("api.example.com", h)
	w.HTTPS("other.example.com", h)
	p := newPen(t, w)
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.Opts.Env = append(p.Opts.Env, "API_KEY="+real)
	p.Secrets = []string{"{name: API_KEY, from: 'env:API_KEY', hosts: [api.example.com], header: x-api-key}"}
	p.Allow = []string{"{host: api.example.com, pin: {secret: API_KEY, header: x-api-key}}", "{host: '*.example.com'}"}
	p.Home.Write(t, "project/netrc", "machine api.example.com login evil password x\n")

	r := p.Sh(`url=https://api.example.com/v1
for v in --http1.1 --http2; do
  echo "ours $(curl -sS $v -H "x-api-key: $API_KEY" -d '{}' $url) none $(curl -sS $v $url)"
  n=0
  try() { n=$((n+1)); curl -sS $v -o answer -w "$n %{http_code}\n" "$@"; grep -q 'carry secret API_KEY and no other credential' answer || cat answer; }
  try -H "X-API-KEY: ` + theirs + `" $url
  try -H "x-api-key: $API_KEY" -H "X-Api-Key: ` + theirs + `" $url
  try -H "x-api-key: $API_KEY" -H "authorization: Bearer ` + theirs + `" $url
  try -u evil:x $url
  try --oauth2-bearer evil $url
  try --netrc-file netrc $url
  try -b session=evil $url
  try -H "x-goog-api-key: ` + theirs + `" $url
  try -H "X-Amz-Security-Token: evil" $url
  try "$url?key=evil"
  try "$url?%61pi_key=evil"
  try -G --data-urlencode "access_token=evil" $url
done
curl -sS -o /dev/null -w 'elsewhere %{http_code}\n' -H "x-api-key: $API_KEY" https://other.example.com/
curl -sS https://other.example.com/ -H "x-api-key: ` + theirs + `"`)
	want := []string{"ours ours=true theirs=false none ours=true theirs=false"}
	for n := range 12 {
		want = append(want, fmt.Sprintf("\n%d 403\n", n+1))
	}
	world.WantOutput(t, r, 0, append(want, "elsewhere 403", "ours=false theirs=true")...)
	if n := strings.Count(r.Stdout, " 403\n"); n != 25 {
		t.Errorf("%d refusals: %s", n, r)
	}
	refused := 0
	for _, f := range p.Flows("api.example.com") {
		if f.Str("verdict") == "deny" {
			refused++
		}
	}
	if refused != 24 {
		t.Errorf("%d refusals in the audit", refused)
	}
	if r := w.Run(p.Home, p.Opts, "grep", "-rl", real, p.Home.Path); r.Code != 1 {
		t.Errorf("the value is in a file of the session: %s", r)
	}
}

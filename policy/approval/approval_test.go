package approval

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

var start = time.Unix(1_800_000_000, 0)

func keyOf(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func approvers(names map[string]ed25519.PrivateKey) (out []policy.Approver) {
	for name, k := range names {
		out = append(out, policy.Approver{Name: name, Key: k.Public().(ed25519.PublicKey)})
	}
	return out
}

func trusted() []policy.Approver { return approvers(map[string]ed25519.PrivateKey{"desk": keyOf(1)}) }

func statement() *Statement {
	return &Statement{ID: strings.Repeat("0a", 16), Answer: "allow", Rule: "{host: api.example, methods: [GET]}", Audience: Any,
		From: start.Unix(), Until: start.Add(time.Hour).Unix(), Max: 2}
}

func sign(t testing.TB, key ed25519.PrivateKey, change func(*Statement)) string {
	t.Helper()
	s := statement()
	if change != nil {
		change(s)
	}
	token, err := Sign(key, s)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signed puts a valid signature under any payload: what a key's holder could make.
func signed(key ed25519.PrivateKey, payload string) string {
	t := form + "." + KeyID(key.Public().(ed25519.PublicKey)) + "." + text([]byte(payload))
	return t + "." + text(ed25519.Sign(key, []byte(t)))
}

func TestOpen(t *testing.T) {
	token := sign(t, keyOf(1), nil)
	got, err := Open(token, trusted())
	if err != nil {
		t.Fatal(err)
	}
	if got.Statement != *statement() || got.By() != "token "+got.ID+" of desk (key "+KeyID(trusted()[0].Key)+")" {
		t.Errorf("%+v by %s", got.Statement, got.By())
	}
}

// TestOpenRefuses: what is not exactly a token of a key that is trusted is none.
func TestOpenRefuses(t *testing.T) {
	good := sign(t, keyOf(1), nil)
	part := strings.Split(good, ".")
	id, payload, sig := part[2], part[3], part[4]
	public := keyOf(1).Public().(ed25519.PublicKey)
	b, _ := encode(statement())
	plain := string(b)
	with := func(old, new string) string {
		if !strings.Contains(plain, old) {
			t.Fatalf("%s is not in %s", old, plain)
		}
		return signed(keyOf(1), strings.Replace(plain, old, new, 1))
	}
	// The public key as the secret of an HMAC, the usual confusion of algorithms.
	jwt := text([]byte(`{"alg":"HS256"}`)) + "." + text(b)
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(jwt))
	swap := func(s string, at int) string {
		c := []byte(s)
		if c[at]++; c[at] == '9'+1 || c[at] == 'z'+1 || c[at] == 'Z'+1 {
			c[at] -= 2
		}
		return string(c)
	}
	for name, c := range map[string]struct{ token, want string }{
		"empty":            {"", "no token of this version"},
		"another version":  {strings.Replace(good, ".v1.", ".v2.", 1), "no token of this version"},
		"in capitals":      {strings.Replace(good, "penstock", "Penstock", 1), "no token of this version"},
		"JWT, none":        {text([]byte(`{"alg":"none"}`)) + "." + payload + ".", "no token of this version"},
		"JWT, EdDSA":       {text([]byte(`{"alg":"EdDSA"}`)) + "." + payload + "." + sig, "no token of this version"},
		"JWT, HS256":       {jwt + "." + text(mac.Sum(nil)), "no token of this version"},
		"HMAC in our form": {form + "." + id + "." + payload + "." + text(mac.Sum(nil)), "its signature is not by key desk"},
		"no signature":     {form + "." + id + "." + payload + ".", "its signature is not by key desk"},
		"two parts":        {form + "." + id + "." + payload, "has not three parts"},
		"four parts":       {good + ".x", "has not three parts"},
		"line break":       {good + "\n", "its signature is not by key desk"},
		"break inside":     {form + "." + id + "." + payload[:8] + "\n" + payload[8:] + "." + sig, "its signature is not by key desk"},
		"padded":           {good + "=", "its signature is not by key desk"},
		"altered":          {form + "." + id + "." + swap(payload, 20) + "." + sig, "it was altered"},
		"altered sig":      {form + "." + id + "." + payload + "." + swap(sig, 20), "it was altered"},
		"zero sig":         {form + "." + id + "." + payload + "." + text(make([]byte, 64)), "it was altered"},
		"other key":        {sign(t, keyOf(2), nil), "is not among egress.approvers"},
		"other key's name": {strings.Replace(sign(t, keyOf(2), nil), KeyID(keyOf(2).Public().(ed25519.PublicKey)), id, 1), "it was altered, or made with another key"},
		"no key":           {strings.Replace(good, id, "desk", 1), "it names no key"},
		"key in capitals":  {strings.Replace(good, id, strings.ToUpper(id), 1), "is not among egress.approvers"},
		"long":             {good + strings.Repeat("A", MaxToken), "more than"},
		"unknown field":    {with(`"max":2`, `"max":2,"alg":"none"`), "unknown field"},
		"field twice":      {with(`"max":2`, `"max":1,"max":2`), "one spelling"},
		"field in case":    {with(`"max"`, `"Max"`), "one spelling"},
		"spaces":           {with(`:2}`, `: 2}`), "one spelling"},
		"something behind": {signed(keyOf(1), plain+"{}"), "one spelling"},
		"escapes":          {with(`"allow"`, `"\u0061llow"`), "one spelling"},
		"null":             {signed(keyOf(1), "null"), "one spelling"},
		"no JSON":          {signed(keyOf(1), "allow: all"), "read its statement"},
		"id":               {with("0a0a0a", "0A0A0A"), "its id"},
		"short id":         {with("0a0a0a", "0a0a"), "its id"},
		"answer":           {with(`"allow"`, `"Allow"`), "neither allow nor deny"},
		"no answer":        {with(`"allow"`, `""`), "neither allow nor deny"},
		"audience":         {with(`"*"`, `"a b"`), "its audience"},
		"no audience":      {with(`"*"`, `""`), "its audience"},
		"no max":           {with(`,"max":2`, ``), "an allow answers from 1"},
		"much":             {with(`"max":2`, `"max":100001`), "an allow answers from 1"},
		"over 32 bits":     {with(`"max":2`, `"max":4294967298`), "read its statement"},
		"negative":         {with(`"max":2`, `"max":-1`), "read its statement"},
		"deny with max":    {with(`"allow"`, `"deny"`), "a deny all"},
		"for ever":         {with(`"until":1800003600`, `"until":1900000000`), "holds for more than"},
		"overflow":         {with(`"from":1800000000`, `"from":-9223372036854775808`), "ends before it begins"},
		"backwards":        {with(`"until":1800003600`, `"until":1800000000`), "ends before it begins"},
		"no rule":          {with(`{host: api.example, methods: [GET]}`, ``), "rule"},
		"two rules":        {with(`[GET]}`, `[GET]}, {host: b.example}`), "not one rule"},
		"other list":       {with(`[GET]}`, `[GET]}], deny: [{host: b.example}`), "not one rule"},
		"other spelling":   {with(`api.example,`, `API.example,`), "its rule is not written as"},
		"private":          {with(`methods: [GET]`, `addresses: [10.0.0.0/8]`), "says more than"},
		"way":              {with(`methods: [GET]`, `via: corp`), "says more than"},
		"pin":              {with(`methods: [GET]`, `protocol: https, pin: {secret: K}`), "says more than"},
		"condition":        {with(`methods: [GET]`, `when: \"true\"`), "says more than"},
	} {
		if got, err := Open(c.token, trusted()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %q", name, got, err, c.want)
		}
	}
	if _, err := Open(good, nil); err == nil {
		t.Error("taken without a key")
	}
	for i := range len(good) {
		c := []byte(good)
		c[i] ^= 1
		if _, err := Open(string(c), trusted()); err == nil {
			t.Errorf("taken with byte %d altered: %s", i, c)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	s := statement()
	s.Max = 0
	if token, err := Sign(keyOf(1), s); err == nil {
		t.Errorf("signed %s", token)
	}
}

// TestFit: a token is for its time and its sessions.
func TestFit(t *testing.T) {
	for _, c := range []struct {
		audience, session string
		after             time.Duration
		want              string
	}{
		{Any, "", 0, ""}, {Any, "job", 0, ""}, {"job", "job", time.Hour - 1, ""},
		{"job", "", 0, "this session has none"}, {"job", "Job", 0, "not Job"}, {"job", "job2", 0, "not job2"},
		{Any, "", -1, "holds only from"}, {Any, "", time.Hour, "held until"},
	} {
		tok, err := Open(sign(t, keyOf(1), func(s *Statement) { s.Audience = c.audience }), trusted())
		if err != nil {
			t.Fatal(err)
		}
		err = tok.Fit(c.session, start.Add(c.after))
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func request(host, method, path string) *hooks.Request {
	return &hooks.Request{Protocol: hooks.ProtocolHTTPS, Target: hooks.Target{Host: host, Port: 443}, Method: method, Path: path}
}

// TestSet: a yes is counted and about its rule alone, a no comes first, and neither
// holds longer than it says.
func TestSet(t *testing.T) {
	other := func(id, answer, rule string, max uint32) string {
		return sign(t, keyOf(1), func(s *Statement) { s.ID, s.Answer, s.Rule, s.Max = strings.Repeat(id, 16), answer, rule, max })
	}
	s, err := NewSet(&Given{Tokens: []string{sign(t, keyOf(1), nil), other("0b", "deny", `{host: api.example, paths: ["/admin"]}`, 0),
		other("0c", "allow", `{host: other.example}`, 1)}}, trusted(), start)
	if err != nil {
		t.Fatal(err)
	}
	get := request("api.example", "GET", "/x")
	if s.Allows(request("api.example", "POST", "/x"), start) != nil || s.Allows(request("a.api.example", "GET", "/x"), start) != nil || s.Denies(get, start) != nil {
		t.Error("an answer to what no token is about")
	}
	if s.Denies(request("api.example", "GET", "/admin"), start) == nil {
		t.Error("not denied")
	}
	if s.Allows(get, start.Add(time.Hour)) != nil || s.Denies(request("api.example", "GET", "/admin"), start.Add(time.Hour)) != nil || s.Allows(get, start.Add(-time.Second)) != nil {
		t.Error("an answer outside of the time")
	}
	for i := range 3 {
		if got := s.Allows(get, start); (got != nil) != (i < 2) {
			t.Errorf("use %d: %v", i+1, got)
		}
	}
	if s.Allows(request("other.example", "GET", "/"), start) == nil {
		t.Error("one token's use is another's")
	}
	var none *Set
	if none.Allows(get, start) != nil || none.Denies(get, start) != nil {
		t.Error("no set answers")
	}
}

func TestNewSetRefuses(t *testing.T) {
	good := sign(t, keyOf(1), nil)
	for name, c := range map[string]struct {
		given Given
		want  string
	}{
		"twice":        {Given{Tokens: []string{good, good}}, "token 2: it has the id of token 1"},
		"many":         {Given{Tokens: make([]string, MaxTokens+1)}, "more than 64"},
		"second wrong": {Given{Tokens: []string{good, sign(t, keyOf(2), nil)}}, "token 2: its key"},
		"audience":     {Given{Tokens: []string{sign(t, keyOf(1), func(s *Statement) { s.Audience = "a" })}, Audience: "b"}, "it is for audience a, not b"},
		"process":      {Given{Tokens: []string{sign(t, keyOf(1), func(s *Statement) { s.Rule = "{host: a.example, process: {exe: /usr/bin/git}}" })}}, "nobody has looked"},
	} {
		if _, err := NewSet(&c.given, trusted(), start); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestProcess: a token of one executable is no answer to another's request, nor to
// one of which it is not known who made it.
func TestProcess(t *testing.T) {
	git := hooks.Executable{Path: "/usr/bin/git", Dev: 1, Ino: 2}
	for _, answer := range []string{"allow", "deny"} {
		given := &Given{Executables: map[string][]hooks.Executable{"/usr/bin/git": {git}}}
		given.Tokens = []string{sign(t, keyOf(1), func(s *Statement) {
			s.Rule, s.Answer = "{host: api.example, process: {exe: /usr/bin/git}}", answer
			if answer == "deny" {
				s.Max = 0
			}
		})}
		s, err := NewSet(given, trusted(), start)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			who *hooks.Process
			git bool
		}{{&hooks.Process{PID: 1, Exe: git}, true}, {&hooks.Process{PID: 1, Exe: hooks.Executable{Path: git.Path, Dev: 1, Ino: 3}}, false}, {nil, answer == "deny"}} {
			r := request("api.example", "GET", "/")
			r.Process = c.who
			got := s.Denies(r, start)
			if answer == "allow" {
				got = s.Allows(r, start)
			}
			if (got != nil) != c.git {
				t.Errorf("%s: %+v: %v", answer, c.who, got)
			}
		}
	}
}

func TestLines(t *testing.T) {
	got, err := Lines([]byte("# who\n\n a \r\nb"))
	if err != nil || strings.Join(got, "|") != "a|b" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "# only\n", strings.Repeat("a\n", MaxTokens+1), strings.Repeat("a", MaxFile+1)} {
		if _, err := Lines([]byte(bad)); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
}

// FuzzOpen: whatever is taken is signed, whole, and says what it says in one way.
func FuzzOpen(f *testing.F) {
	good := sign(f, keyOf(1), nil)
	f.Add(good, "")
	f.Add(sign(f, keyOf(2), nil), "")
	b, _ := encode(statement())
	f.Add("", string(b))
	f.Add("", strings.Replace(string(b), `"max":2`, `"max":2,"max":3`, 1))
	f.Add("", strings.Replace(string(b), `[GET]`, `[GET], paths: [\"/**\"]`, 1))
	f.Fuzz(func(t *testing.T, token, payload string) {
		if tok, err := Open(token, trusted()); err == nil && token != good {
			t.Errorf("nobody signed %q: %+v", token, tok)
		}
		tok, err := Open(signed(keyOf(1), payload), trusted())
		if err != nil {
			return
		}
		again, err := encode(&tok.Statement)
		if err != nil || string(again) != payload || !json.Valid(again) {
			t.Errorf("%q is read as %q", payload, again)
		}
		if tok.Until-tok.From > int64(MaxFor/time.Second) || tok.Allow() != (tok.Max > 0) || tok.RuleText() != tok.Rule {
			t.Errorf("%q is taken", payload)
		}
		if n := tok.Max; tok.Allow() && (n == 0 || n > MaxUses) {
			t.Errorf("%d uses", n)
		}
	})
}

package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, err := Parse("f", []byte(`# quotas
quota:
  sessions: 3
  connections: 9
  rate: 7
  memory: 8G
  pids: none
  cpus: 1.5
  audit_bytes: 512
  session_audit_bytes: 64K
proxies: {first_uid: 3000, most: 5, idle: 0}
setup_time: 90s
`))
	want := Settings{
		Quota:   Quota{Sessions: 3, Connections: 9, Rate: 7, Memory: 8 << 30, CPUs: 1.5, AuditBytes: 512, SessionAuditBytes: 64 << 10},
		Proxies: Proxies{3000, 5, 0}, SetupTime: 90 * time.Second,
	}
	if err != nil || *s != want {
		t.Errorf("%+v, %v", s, err)
	}
	for _, empty := range []string{"", "# nothing\n", "quota:\n", "{}"} {
		if s, err := Parse("f", []byte(empty)); err != nil || *s != *Default() {
			t.Errorf("%q: %+v, %v", empty, s, err)
		}
	}
}

// TestExample: what the packaged example and the manual say is what holds.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "packaging", "etc", "supervise.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Parse("example", text); err != nil || *s != *Default() {
		t.Errorf("as it is: %+v, %v", s, err)
	}
	_, keys, ok := strings.Cut(string(text), "\n# quota:")
	if !ok {
		t.Fatal("the example has no quota")
	}
	keys = strings.ReplaceAll("\n# quota:"+keys, "\n# ", "\n")
	s, err := Parse("example", []byte(strings.ReplaceAll(keys, "\n#\n", "\n")))
	if err != nil || *s != *Default() {
		t.Errorf("uncommented: %+v, %v, want %+v", s, err, Default())
	}
	for _, key := range []string{"sessions", "connections", "rate", "memory", "pids", "cpus", "audit_bytes", "session_audit_bytes", "first_uid", "most", "idle", "setup_time"} {
		if !strings.Contains(keys, "\n  "+key+":") && !strings.Contains(keys, "\n"+key+":") {
			t.Errorf("the example lacks %s", key)
		}
	}
}

func TestParseRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"quotas: {}":                                  `f:1: unknown key "quotas"`,
		"quota:\n  sessions: 1\n  session: 2":         `f:3: unknown key "session"`,
		"quota:\n  sessions: 1\n  sessions: 2":        `f:3: sessions twice`,
		"quota: 3":                                    "f:1: not a mapping",
		"[]":                                          "f:1: not a mapping",
		"quota: {sessions: 0}":                        `"0" is no number`,
		"quota: {sessions: many}":                     `"many" is no number`,
		"quota: {sessions: [1]}":                      "is no number",
		"quota: {memory: -1}":                         "is no size",
		"quota: {memory: 1.5G}":                       "is no size",
		"quota: {memory: 9999999999T}":                "is no size",
		"quota: {memory: G}":                          "is no size",
		"quota: {cpus: NaN}":                          "is no number of processors",
		"proxies: {first_uid: 0}":                     "is no number",
		"proxies: {first_uid: 2147483640, most: 100}": "beyond the last user id",
		"setup_time: 1ns":                             "is no time",
		"a: {}\n---\nb: {}":                           "more than one document",
		"a: [":                                        "f: ",
	} {
		if s, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", text, s, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if s, err := Load(filepath.Join(dir, "none")); err != nil || *s != *Default() {
		t.Errorf("%+v, %v", s, err)
	}
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, []byte("quota: {sessions: 5}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := Load(name); err != nil || s.Quota.Sessions != 5 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.Chmod(name, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("%v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("quota: {sessions: 1, memory: 1G}\nproxies: {idle: 1}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse("f", b)
		if err == nil && (s.Quota.Sessions < 1 || s.Quota.Memory < 0 || s.Proxies.FirstUID < 1000 || s.SetupTime < time.Second) {
			t.Errorf("%+v", s)
		}
	})
}

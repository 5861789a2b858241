package wasm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/penstock/penstock/sandbox"
)

const whole = `{
  "version": 1,
  "description": "counts",
  "arguments": [
    {"name": "how", "type": "string", "required": true, "enum": ["fast", "slow"]},
    {"name": "n", "type": "integer", "minimum": 1, "maximum": 9},
    {"name": "ratio", "type": "number"},
    {"name": "deep", "type": "boolean"},
    {"name": "file", "type": "string", "max_length": 4, "repeated": true}
  ],
  "paths": [{"path": "."}, {"path": "/data/out", "write": true}],
  "hosts": ["api.example.com", "*.cdn.example.com", "192.0.2.7"],
  "memory_mib": 64,
  "timeout": "1m"
}`

// TestParseManifest: what the schema has is read, everything else is an error with its
// line; parser and schema agree.
func TestParseManifest(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/schema/tool.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(doc string) bool {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
		return err == nil && schema.Validate(v) == nil
	}
	for _, doc := range []string{whole, `{"version":1}`, `{"version":1,"hosts":["*"]}`} {
		if _, err := ParseManifest([]byte(doc)); err != nil || !valid(doc) {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for _, c := range []struct {
		doc, want string
		schema    bool // it can't say so
	}{
		{``, "1: it ends too early", false},
		{`{"version":1`, "1: it ends too early", false},
		{"{\n\"version\":1,\n\"path\":[]}", `3: unknown field "path"`, false},
		{"{\n\"version\":1,\n\"hosts\":\"x\"}", "3: hosts must not be a string", false},
		{`{"version":1} {}`, "1: there is more after the manifest", false},
		{`{"version":2}`, "version is 2", false},
		{`{}`, "version is 0", false},
		{`{"version":1,"timeout":"soon"}`, "give a time such as", true},
		{`{"version":1,"timeout":"-3s"}`, "give a time such as", true},
		{`{"version":1,"memory_mib":-1}`, "memory_mib is -1", false},
		{`{"version":1,"hosts":["https://x"]}`, "without scheme", false},
		{`{"version":1,"hosts":["x:80"]}`, "without scheme", false},
		{`{"version":1,"hosts":["a*.x"]}`, "without scheme", false},
		{`{"version":1,"hosts":[""]}`, "without scheme", false},
		{`{"version":1,"paths":[{"path":""}]}`, "give a directory", false},
		{`{"version":1,"arguments":[{"name":"a b","type":"string"}]}`, "arguments[0].name", false},
		{`{"version":1,"arguments":[{"name":"a","type":"file"}]}`, "give string, integer", false},
		{`{"version":1,"arguments":[{"name":"a","type":"string"},{"name":"a","type":"string"}]}`, "of its own", true},
		{`{"version":1,"arguments":[{"name":"a","type":"string"},{"name":"b","type":"string","required":true}]}`, "its place would be unknown", true},
		{`{"version":1,"arguments":[{"name":"a","type":"string","repeated":true},{"name":"b","type":"string"}]}`, "not the last", true},
		{`{"version":1,"arguments":[{"name":"a","type":"string","minimum":1}]}`, "minimum and maximum", true},
		{`{"version":1,"arguments":[{"name":"a","type":"integer","minimum":2,"maximum":1}]}`, "minimum and maximum", true},
		{`{"version":1,"arguments":[{"name":"a","type":"integer","enum":["1"]}]}`, "enum and max_length", true},
	} {
		if _, err := ParseManifest([]byte(c.doc)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.doc, err)
		}
		if valid(c.doc) && !c.schema {
			t.Errorf("%s is of the schema", c.doc)
		}
	}
}

// TestCheck: arguments are what the manifest says.
func TestCheck(t *testing.T) {
	m, err := ParseManifest([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"fast": "", "slow 3": "", "fast 9 -1.5e3 true": "", "fast 1 0 false a bb cccc": "",
		"":                    "argument 1 (how) is missing: it takes HOW [N] [RATIO] [DEEP] [FILE...]",
		"quick":               `argument 1 (how) is "quick": give one of fast, slow`,
		"fast 0":              `argument 2 (n) is "0": give at least 1`,
		"fast 10":             `argument 2 (n) is "10": give at most 9`,
		"fast +3":             `argument 2 (n) is "+3": give an integer`,
		"fast 3.0":            "give an integer",
		"fast 3 NaN":          "give a number",
		"fast 3 0x1":          "give a number",
		"fast 3 1 yes":        "give true or false",
		"fast 3 1 true ccccc": `argument 5 (file) is "ccccc": it has 5 bytes, give at most 4`,
	} {
		err := m.Check(strings.Fields(args))
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.Contains(got, want) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := (&Manifest{}).Check([]string{"x"}); err == nil || !strings.Contains(err.Error(), "argument 1 is one too many: it takes no arguments") {
		t.Error(err)
	}
	if b, err := json.Marshal(m.InputSchema()); err != nil || string(b) != `{"additionalProperties":false,"properties":{"deep":{"type":"boolean"},"file":{"items":{"maxLength":4,"type":"string"},"type":"array"},"how":{"enum":["fast","slow"],"type":"string"},"n":{"maximum":9,"minimum":1,"type":"integer"},"ratio":{"type":"number"}},"required":["how"],"type":"object"}` {
		t.Errorf("%s %v", b, err)
	}
}

// TestNarrow: what comes out was in the grants, and in the manifest.
func TestNarrow(t *testing.T) {
	grants := []sandbox.Grant{{Path: "/w", Write: true}, {Path: "/w/ro"}, {Path: "/shown"}}
	for wants, want := range map[string]string{
		`[]`:                                 "[] []",
		`[{"path":"."}]`:                     "[{/w false} {/w/ro false}] []",
		`[{"path":".","write":true}]`:        "[{/w true} {/w/ro false}] []",
		`[{"path":"a/b","write":true}]`:      "[{/w/a/b true}] []",
		`[{"path":"../shown"}]`:              "[{/shown false}] []",
		`[{"path":"/shown/x","write":true}]`: "[{/shown/x false}] [{/shown/x true}]",
		`[{"path":"/etc"}]`:                  "[] [{/etc false}]",
		`[{"path":"/","write":true}]`:        "[{/w true} {/w/ro false} {/shown false}] []",
		`[{"path":"/wide"}]`:                 "[] [{/wide false}]",
		`[{"path":"../../../../etc"},{"path":"/w/../etc/passwd"}]`: "[] [{/etc false} {/etc/passwd false}]",
	} {
		m, err := ParseManifest([]byte(`{"version":1,"paths":` + wants + `}`))
		if err != nil {
			t.Fatal(err)
		}
		out, missing := m.Narrow(grants, "/w")
		if got := fmt.Sprint(out, missing); got != want {
			t.Errorf("%s: %s, want %s", wants, got, want)
		}
	}
	m, err := ParseManifest([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"api.example.com": true, "API.Example.com.": true, "xapi.example.com": false, "a.cdn.example.com": true, "a.b.cdn.example.com": true,
		"cdn.example.com": false, ".cdn.example.com": false, "192.0.2.7": true, "192.0.2.8": false, "": false, "example.com": false,
	} {
		if m.Host(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
	if (&Manifest{}).Host("api.example.com") || m.Memory(1<<30) != 64<<20 || m.Memory(1<<20) != 1<<20 || (&Manifest{}).Memory(5) != 5 || m.Limit() != time.Minute {
		t.Error("limits")
	}
}

// TestReadManifest: what is there and can't be read is not taken for none.
func TestReadManifest(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "m.wasm")
	if m, err := ReadManifest(module); m != nil || err != nil {
		t.Errorf("none: %v %v", m, err)
	}
	for name, make := range map[string]func(string) error{
		"a link to nowhere": func(p string) error { return os.Symlink("nowhere", p) },
		"a directory":       func(p string) error { return os.Mkdir(p, 0o755) },
		"large":             func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte(" "), maxManifest+1), 0o644) },
		"broken":            func(p string) error { return os.WriteFile(p, []byte("{"), 0o644) },
		"empty":             func(p string) error { return os.WriteFile(p, nil, 0o644) },
	} {
		if err := make(ManifestPath(module)); err != nil {
			t.Fatal(err)
		}
		if m, err := ReadManifest(module); m != nil || err == nil || !strings.Contains(err.Error(), "m.wasm.json") {
			t.Errorf("%s: %v %v", name, m, err)
		}
		if err := os.Remove(ManifestPath(module)); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzParseManifest: whatever is read narrows.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(whole), "/w/x", "fast")
	f.Add([]byte(`{"version":1,"paths":[{"path":"/","write":true}],"hosts":["*"]}`), "/", "")
	f.Fuzz(func(t *testing.T, doc []byte, dir, word string) {
		m, err := ParseManifest(doc)
		if err != nil {
			return
		}
		m.Check(strings.Fields(word)) //nolint:errcheck // it must not panic
		grants := []sandbox.Grant{{Path: "/w", Write: true}, {Path: "/shown"}}
		out, _ := m.Narrow(grants, "/"+dir)
		for _, g := range out {
			if !within(g.Path, "/w") && (g.Write || !within(g.Path, "/shown")) {
				t.Errorf("%s grants %+v", doc, g)
			}
		}
	})
}

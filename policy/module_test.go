package policy

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks/cel"
)

// TestModule travels as a path, is found beside its file, and in what others can
// change it needs its hash.
func TestModule(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	one := "hooks: [{name: dlp, on: [request], wasm: hooks/dlp.wasm, sha256: '" + hash + "', stateful: true}]"
	for _, layer := range []Layer{User, Project} {
		p, err := layers(t, map[Layer]string{layer: one})
		if err != nil {
			t.Fatal(err)
		}
		q, err := roundTrip(t, p).CompileConditions(cel.Language{})
		if err != nil {
			t.Fatal(err)
		}
		m, ok := q.Hooks()[0].Asks.(*Module)
		if !ok || !filepath.IsAbs(m.Path) || !strings.HasSuffix(m.Path, "/hooks/dlp.wasm") || m.SHA256 != hash || !m.Stateful || q.Hooks()[0].Compiled() != nil {
			t.Errorf("%+v", m)
		}
		if text := hookText(&q.Hooks()[0]); !strings.Contains(text, "hooks/dlp.wasm") || !strings.Contains(text, hash) || !strings.Contains(text, "stateful: true") {
			t.Errorf("shown as %s", text)
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range [][2]string{{m.Path, ""}, {m.Path, `/a\nb`}, {hash, "x"}, {`"wasm":{`, `"wasm":{"more":1,`}} {
			forged := strings.Replace(string(b), c[0], c[1], 1)
			if forged == string(b) {
				t.Fatalf("%s is not in %s", c[0], b)
			}
			if err := json.Unmarshal([]byte(forged), new(Policy)); err == nil {
				t.Errorf("%q is believed", c[1])
			}
		}
	}
	bare := "version: 1\nhooks: [{name: dlp, on: [request], wasm: dlp.wasm}]"
	for layer, want := range map[Layer]string{System: "can't be a module yet", User: "", Project: "the hook's module can change after this file was trusted"} {
		_, err := Parse("f", layer, []byte(bare))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("layer %d: %v, want %s", layer, err, want)
		}
	}
}

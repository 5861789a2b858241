package install

import (
	"encoding/json"
	"testing"
)

// testDoctor asks the doctor, as a user who may and as one who may not.
func testDoctor(t *testing.T, m *machine) {
	find := func(user string) map[string]string {
		out, _ := m.run(user, "penstock", "doctor", "--no-clients", "--json")
		var report struct {
			Findings []struct{ Group, Name, State, Detail string }
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%s: penstock doctor: %v\n%s", user, err, out)
		}
		found := map[string]string{}
		for _, f := range report.Findings {
			if f.Group == "supervisor" || f.Group == "session" {
				found[f.Name] = f.State
				t.Logf("%s: %s: %s: %s", user, f.Name, f.State, f.Detail)
			}
		}
		return found
	}
	found := find("alice")
	for _, name := range []string{"daemon", "steering", "eBPF", "bpffs", "group penstock", "floor policy", "penstock run", "penstock run --supervised"} {
		if found[name] != "ok" {
			t.Errorf("alice's doctor says %q of %s", found[name], name)
		}
	}
	found = find("carol")
	for name, state := range map[string]string{"daemon": "warn", "group penstock": "warn", "penstock run": "ok"} {
		if found[name] != state {
			t.Errorf("carol's doctor says %q of %s", found[name], name)
		}
	}
}

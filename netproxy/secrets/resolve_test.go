package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

func TestResolve(t *testing.T) {
	src := Source{
		Lookup: func(n string) (string, bool) {
			v, ok := map[string]string{"K": "value-of-k", "EMPTY": ""}[n]
			return v, ok
		},
		Read: func(p string) ([]byte, error) {
			if p == "/run/k" {
				return []byte("from-the-file\n"), nil
			}
			return nil, fs.ErrNotExist
		},
		Seed: []byte("0123456789abcdef"),
	}
	decl := func(name, env, file string) policy.Secret {
		return policy.Secret{Name: name, Origin: policy.Origin{Env: env, File: file}, Hosts: []string{"a.example"}, Header: "X-" + name}
	}
	set, missing, err := Resolve([]policy.Secret{decl("A", "K", ""), decl("B", "UNSET", ""), decl("C", "EMPTY", ""), decl("D", "", "/run/k")}, src)
	if err != nil || fmt.Sprint(missing) != "[B C]" {
		t.Fatalf("missing %v, %v", missing, err)
	}
	h := http.Header{}
	for _, e := range set.Environ() {
		n, v, _ := strings.Cut(e, "=")
		h.Set("X-"+n, v)
	}
	done, err := set.Swap(h, hooks.Target{Host: "a.example", Port: 443}, true)
	if err != nil || len(done) != 2 || h.Get("X-A") != "value-of-k" || h.Get("X-D") != "from-the-file" {
		t.Errorf("swapped %v, %v", done, err)
	}
	if _, _, err := Resolve([]policy.Secret{decl("A", "", "/nope")}, src); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if set, _, err := Resolve(nil, src); set != nil || err != nil {
		t.Errorf("no secrets: %v, %v", set, err)
	}
}

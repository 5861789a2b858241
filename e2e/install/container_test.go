package install

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// instructions that the image's definition may use.
var instructions = []string{"ARG", "FROM", "LABEL", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}

// TestContainerfile holds the image's definition to what can be told without an
// engine: its form, its shell, and that what it copies is what make package makes.
func TestContainerfile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "packaging", "container", "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	seen := map[string]string{}
	for line := range strings.SplitSeq(strings.ReplaceAll(strings.Join(lines, "\n"), "\\\n", " "), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if !slices.Contains(instructions, word) {
			t.Errorf("no instruction: %q", line)
		}
		if seen["FROM"] == "" && word != "FROM" && word != "ARG" {
			t.Errorf("%s before FROM", word)
		}
		seen[word] = rest
		switch word {
		case "COPY":
			source, _, _ := strings.Cut(rest, " ")
			if ok, err := path.Match(source, "penstock_1.2.3-1_amd64.deb"); err != nil || !ok {
				t.Errorf("COPY %s: make package makes no such file", source)
			}
		case "RUN":
			if out, err := exec.Command("sh", "-n", "-c", rest).CombinedOutput(); err != nil {
				t.Errorf("RUN %s: %v %s", rest, err, out)
			}
		}
	}
	if seen["USER"] == "" || seen["USER"] == "root" || !strings.Contains(seen["ENTRYPOINT"], "/usr/bin/penstock") {
		t.Errorf("the image runs %s as %q", seen["ENTRYPOINT"], seen["USER"])
	}
}

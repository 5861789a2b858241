package speech

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// gitIn runs git in a directory, with input, and returns its output.
func gitIn(t testing.TB, dir, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command(world.Tool(t, "git"), args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

// history makes a repository: root, then a chain of n commits with messages that make
// of most a delta of the one before, and beside it a commit of its own. It returns
// root, the chain's end and that one.
func history(t testing.TB, format string, n int) (dir, root, tip, other string) {
	dir = t.TempDir()
	gitIn(t, dir, "", "init", "-q", "-b", "main", "--object-format="+format)
	tree := strings.TrimSpace(gitIn(t, dir, "", "mktree"))
	commit := func(message string, parents ...string) string {
		args := []string{"commit-tree", tree, "-m", message}
		for _, p := range parents {
			args = append(args, "-p", p)
		}
		return strings.TrimSpace(gitIn(t, dir, "", args...))
	}
	root = commit("root")
	tip = root
	for i := range n {
		tip = commit(strings.Repeat("a line that is in every one of the messages\n", 20)+string(rune('a'+i)), tip)
	}
	return dir, root, tip, commit("other")
}

func packOf(t testing.TB, dir string, flags []string, revs ...string) string {
	return gitIn(t, dir, strings.Join(revs, "\n")+"\n", append([]string{"pack-objects", "--revs", "--stdout", "-q"}, flags...)...)
}

// TestDescends: packs as git makes them, with commits whole and as both kinds of
// deltas, and what is not in them.
func TestDescends(t *testing.T) {
	rule := gitRule(t, "{repos: [r], push: true, branches: ['**']}")
	for _, format := range []string{"sha1", "sha256"} {
		dir, root, tip, other := history(t, format, 20)
		middle := strings.TrimSpace(gitIn(t, dir, "", "rev-parse", tip+"~10"))
		update := func(old, new, pack string) string {
			p, err := ReadPush(strings.NewReader(lines(old+" "+new+" refs/heads/x\x00report-status object-format="+format, "") + pack))
			if err != nil {
				t.Fatal(err)
			}
			return p.Judge(rule)
		}
		for name, flags := range map[string][]string{"whole": {"--window=0"}, "deltas by offset": {"--delta-base-offset", "--depth=50"}, "deltas by id": {"--depth=50"}, "thin": {"--thin", "--delta-base-offset"}} {
			all, later := packOf(t, dir, flags, tip, "^"+root), packOf(t, dir, flags, tip, "^"+middle)
			for _, tt := range []struct{ what, old, new, pack, want string }{
				{"forward", root, tip, all, ""},
				{"by one", tip + "~1", tip, packOf(t, dir, flags, tip, "^"+tip+"~1"), ""},
				{"in between", middle, tip, all, ""},
				{"to the middle", root, middle, all, ""},
				{"not far enough", root, tip, later, "do not lead to the old one"},
				{"back", tip, middle, all, "do not lead to the old one"},
				{"beside", other, tip, all, "do not lead to the old one"},
				{"to what is not there", root, other, all, "the server has it already"},
				{"cut off", root, tip, all[:len(all)/2], "malformed, or ends too soon"},
				{"no pack", root, tip, "", "no pack"},
				{"another version", root, tip, "PACK\x00\x00\x00\x03" + all[8:], "no pack"},
				{"a false count", root, tip, all[:8] + "\x00\x00\x00\x01" + all[12:], ""},
			} {
				old := strings.TrimSpace(gitIn(t, dir, "", "rev-parse", tt.old))
				why := update(old, tt.new, tt.pack)
				if tt.what == "a false count" {
					if why == "" {
						t.Errorf("%s %s %s: allowed", format, name, tt.what)
					}
				} else if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) {
					t.Errorf("%s %s %s: %q, want %q", format, name, tt.what, why, tt.want)
				}
			}
			// Every single byte counts, or the server finds out what it made wrong.
			forged := []byte(all)
			allowed := 0
			for i := 12; i < len(forged)-2*len(tip)/4; i += 29 {
				forged[i] ^= 1
				if update(root, tip, string(forged)) == "" {
					allowed++
				}
				forged[i] ^= 1
			}
			if allowed > 0 {
				t.Errorf("%s %s: %d forged packs are allowed", format, name, allowed)
			}
		}
	}
}

// TestPackBounds: a pack that grows is not read to its end.
func TestPackBounds(t *testing.T) {
	rule := gitRule(t, "{repos: [r], push: true, branches: ['**']}")
	dir, root, tip, _ := history(t, "sha1", 1)
	blob := func(size int, fill func([]byte)) string {
		b := make([]byte, size)
		fill(b)
		id := strings.TrimSpace(gitIn(t, dir, string(b), "hash-object", "-w", "--stdin"))
		return gitIn(t, dir, id+"\n", "pack-objects", "--stdout", "-q")
	}
	random := func(b []byte) {
		x := uint64(1)
		for i := range b {
			x = x*6364136223846793005 + 1442695040888963407
			b[i] = byte(x >> 56)
		}
	}
	for name, tt := range map[string]struct{ pack, want string }{
		"much that is held": {blob(MaxPack+1<<20, random), "its first 16 MiB do not show it"},
		"much that unpacks": {blob(maxInflated+1, func([]byte) {}), "an object of 64 MiB"},
	} {
		read := &limited{strings.NewReader(lines(root+" "+tip+" refs/heads/x"+caps, "") + tt.pack), 0}
		p, err := ReadPush(read)
		if err != nil {
			t.Fatal(err)
		}
		if why := p.Judge(rule); !strings.Contains(why, tt.want) || read.n > MaxPack+1<<16 {
			t.Errorf("%s: %q after %d bytes", name, why, read.n)
		}
	}
}

type limited struct {
	r *strings.Reader
	n int
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.n += n
	return n, err
}

// FuzzPack: no pack shows a history that is not in it.
func FuzzPack(f *testing.F) {
	dir, root, tip, other := history(f, "sha1", 5)
	f.Add([]byte(packOf(f, dir, []string{"--delta-base-offset"}, tip, "^"+root)))
	f.Add([]byte(packOf(f, dir, []string{"--thin"}, tip, "^"+root)))
	f.Add([]byte(packOf(f, dir, []string{"--window=0"}, other)))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, old := range []string{other, idA} {
			p := &pack{r: &counted{r: bufio.NewReader(bytes.NewReader(body))}, ids: 20}
			if why := p.descends(old, tip); why == "" {
				t.Error("a history that is nowhere")
			} else if !printable(why) {
				t.Errorf("%q", why)
			}
		}
	})
}

// FuzzDelta: no delta makes more than it says, or reads beyond its base.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("base"), []byte("\x04\x05\x90\x04\x01x"))
	f.Add([]byte("base"), []byte("\x04\x02\x02ab"))
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		out, err := applyDelta(base, delta)
		if err == nil && len(out) > maxCommit || err != nil && !bytes.Equal(out, nil) {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
}

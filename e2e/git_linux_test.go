package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// wholeBodies has a CGI program, which can't be given chunks, see whole bodies.
func wholeBodies(h http.Handler, chunked *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // a server acts on what came whole
		}
		if r.ContentLength < 0 && r.Method == http.MethodPost {
			chunked.Add(1)
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
		h.ServeHTTP(w, r)
	})
}

// TestGitRule: git in a pen, whose rule lets it fetch one repository and push some
// branches of another, in each version of the protocol.
func TestGitRule(t *testing.T) {
	dir := t.TempDir()
	w := world.New(t)
	var chunked, pushes atomic.Int64
	backend := wholeBodies(world.GitServer(t, dir), &chunked)
	w.HTTPS("git.example.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			pushes.Add(1)
		}
		backend.ServeHTTP(rw, r)
	}))
	if r := w.Run(nil, world.Options{Dir: dir}, "/bin/sh", "-c", "git -C repo.git config receive.advertisePushOptions true && mkdir org && cp -r repo.git org/ours.git && cp -r repo.git org/other.git && mv repo.git fetched.git"); r.Code != 0 {
		t.Fatal(r)
	}
	for _, version := range []string{"0", "1", "2"} {
		t.Run("v"+version, func(t *testing.T) {
			p := newPen(t, w)
			if world.Bare() {
				t.Skip("nothing to compare without a pen")
			}
			p.Env = map[string]string{"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_TERMINAL_PROMPT": "0"}
			p.Allow = []string{"{host: git.example.com, git: {repos: [fetched]}}",
				"{host: git.example.com, git: {repos: [org/ours], push: true, branches: ['agent/**'], tags: ['rc*']}}"}
			agent := "agent/v" + version
			pushes.Store(0)
			chunked.Store(0)
			r := p.Sh(fmt.Sprintf(`git config --global protocol.version %[1]s; git config --global http.version %[3]s; git config --global advice.pushUpdateRejected false
url=https://git.example.com
try() { name=$1; shift; "$@" >out 2>&1 && echo "$name: ok" || { echo "$name: failed"; sed "s/^/$name: /" out; }; }
try clone git clone -q $url/fetched.git
try fetch git -C fetched fetch -q origin
try read-only git -C fetched push -q origin HEAD:refs/heads/%[2]s
try elsewhere git clone -q $url/org/other
try dumb curl -sSf $url/org/ours.git/HEAD
try ours git clone -q $url/org/ours
cd ours
commit() { echo "$1" > "$1" && git add . && git commit -q -m "$1"; }
commit one
try new git push -q origin HEAD:refs/heads/%[2]s
commit two; commit three
try forward git push -q origin HEAD:refs/heads/%[2]s
git commit -q --amend -m 'another three'
try force git push -q -f origin HEAD:refs/heads/%[2]s
try plus git push -q origin +HEAD~2:refs/heads/%[2]s
git reset -q --hard @{1}
try outside git push -q origin HEAD:refs/heads/main
try ref git push -q origin HEAD:refs/notes/x
try both git push -q --atomic origin HEAD:refs/heads/%[2]s HEAD:refs/heads/main
try delete git push -q origin :refs/heads/%[2]s
try tag git push -q origin HEAD:refs/tags/rc%[1]s
try moved git push -q -f origin HEAD~1:refs/tags/rc%[1]s
try othertag git push -q origin HEAD:refs/tags/v%[1]s
try option git push -q -o x=y origin HEAD:refs/heads/%[2]s-o
try merge sh -c 'git checkout -q -b side HEAD~1 && echo s > s && git add s && git commit -q -m side && git merge -q -m merged main && git push -q origin HEAD:refs/heads/%[2]s'
head -c 3000000 /dev/urandom > random; commit large
try large git push -q origin HEAD:refs/heads/%[2]s
for i in $(seq 300); do git commit -q --allow-empty -m "a long message that makes of one commit a delta of another one, as it is nearly the same: $i, and again, nearly the same"; done
try many git push -q origin HEAD:refs/heads/%[2]s
git rev-parse HEAD
`, version, agent, map[string]string{"0": "HTTP/2", "1": "HTTP/1.1", "2": "HTTP/2"}[version]))
			for name, want := range map[string]string{"clone": "", "fetch": "", "ours": "", "new": "", "forward": "", "tag": "", "merge": "", "large": "", "many": "",
				"read-only": "it lets nobody push", "elsewhere": "the repository is not one of its repos", "dumb": "403",
				"force": "would not be moved forward only", "plus": "would not be moved forward only", "outside": "refs/heads/main is none of its branches", "ref": "refs/notes/x is neither a branch nor a tag",
				"both": "refs/heads/main is none of its branches", "delete": "would be deleted", "moved": "would be moved", "othertag": "is none of its tags", "option": "it has push options"} {
				ok := strings.Contains("\n"+r.Stdout, "\n"+name+": ok\n")
				said := false
				for _, line := range world.Lines(r.Stdout) {
					said = said || strings.HasPrefix(line, name+": ") && strings.Contains(line, want)
				}
				if ok != (want == "") || !said {
					t.Errorf("%s: want %q\n%s", name, want, r)
				}
			}
			head := w.Run(nil, world.Options{Dir: dir}, "git", "-c", "safe.directory=*", "-C", "org/ours.git", "rev-parse", "refs/heads/"+agent)
			if lines := world.Lines(r.Stdout); len(lines) == 0 || lines[len(lines)-1] != strings.TrimSpace(head.Stdout) {
				t.Errorf("the server has %s", head)
			}
			// new, forward, tag, merge, large with git's trial before it, many.
			if chunked.Load() == 0 || pushes.Load() != 7 {
				t.Errorf("%d pushes arrived, %d requests in chunks", pushes.Load(), chunked.Load())
			}
			var allowed, denied int
			for _, f := range p.Flows("git.example.com") {
				switch {
				case !strings.HasSuffix(f.Str("path"), "/git-receive-pack"):
				case f.Str("verdict") == "deny":
					denied++
				case f.Str("verdict") == "allow" && strings.Contains(f.Str("reason"), ": push "):
					allowed++
				}
			}
			if allowed != 7 || denied != 9 {
				t.Errorf("the audit has %d pushes, %d denied ones", allowed, denied)
			}
		})
	}
}

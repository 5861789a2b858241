package policy

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// Git is the git: of an allow rule: fetches of these repositories over smart HTTP
// and, with Push, pushes of these branches and tags. Nothing else of the host is
// allowed by the rule. It is immutable.
type Git struct {
	Repos    []string `json:"repos"` // as they stand in URLs, without .git
	Push     bool     `json:"push,omitempty"`
	Branches []string `json:"branches,omitempty"` // below refs/heads/, that may be created and moved forward
	Tags     []string `json:"tags,omitempty"`     // below refs/tags/, that may be created
	Delete   bool     `json:"delete,omitempty"`   // they may be deleted
	Force    bool     `json:"force,omitempty"`    // they may be moved to anything
}

// git reads {repos: [], push: true, branches: [], tags: [], delete: false, force: false}.
func (p *parser) git(n *yaml.Node) *Git {
	g := &Git{}
	p.fields(n, "git", []field{
		{"repos", func(n *yaml.Node) { g.Repos = p.names(n, "repos") }},
		{"push", func(n *yaml.Node) { g.Push, _ = p.boolean(n, "git.push") }},
		{"branches", func(n *yaml.Node) { g.Branches = p.names(n, "branches") }},
		{"tags", func(n *yaml.Node) { g.Tags = p.names(n, "tags") }},
		{"delete", func(n *yaml.Node) { g.Delete, _ = p.boolean(n, "git.delete") }},
		{"force", func(n *yaml.Node) { g.Force, _ = p.boolean(n, "git.force") }},
	})
	return g
}

// names reads a list of text.
func (p *parser) names(n *yaml.Node, what string) []string {
	out := []string{}
	p.texts(n, what, func(_ *yaml.Node, s string) { out = append(out, s) })
	return out
}

func (g *Git) key() string { return "git" }

func (g *Git) check() (msg, hint string) {
	if g.Repos == nil {
		return "it has no repos", `for example git: {repos: [org/repo, "org/*"]}`
	}
	msg, hint = checkList("repos", g.Repos, func(s string) (msg, hint string) {
		if name, ok := strings.CutSuffix(s, ".git"); ok {
			return "ends with .git", "write " + quote(name) + ": with and without .git it is one repository"
		}
		return badSegments(s)
	})
	for _, l := range []struct {
		key  string
		list []string
	}{{"branches", g.Branches}, {"tags", g.Tags}} {
		if msg == "" {
			msg, hint = checkList(l.key, l.list, func(s string) (msg, hint string) {
				if name, ok := strings.CutPrefix(s, "refs/"); ok {
					_, name, _ = strings.Cut(name, "/")
					return "is the whole name of a ref", "write " + quote(name) + ": what stands after refs/heads/ or refs/tags/"
				}
				return badSegments(s)
			})
		}
	}
	switch some := g.Branches != nil || g.Tags != nil; {
	case msg != "":
	case g.Push && !some:
		return "push says nothing of what may be pushed", `add branches: ["agent/**"], or branches: ["**"] for every one`
	case !g.Push && (some || g.Delete || g.Force):
		return "branches, tags, delete and force have no meaning without push", "add push: true, or remove them"
	}
	return msg, hint
}

// String returns it in YAML.
func (g *Git) String() string {
	var t speechText
	t.list("repos", g.Repos)
	t.flag("push", g.Push)
	t.list("branches", g.Branches)
	t.list("tags", g.Tags)
	t.flag("delete", g.Delete)
	t.flag("force", g.Force)
	return t.String()
}

// What a git client asks for, below a repository's URL (gitprotocol-http(5)).
const (
	gitRefs    = "/info/refs"
	gitUpload  = "/git-upload-pack"  // fetch
	gitReceive = "/git-receive-pack" // push
)

func (g *Git) head(r *hooks.Request, path string) string {
	push := false
	repo, ok := strings.CutSuffix(path, gitRefs)
	if ok {
		// The query as a whole: of two services a server may take either.
		switch {
		case r.Method != "GET":
			return "git asks for refs with GET"
		case r.Query == "service=git-receive-pack":
			push = true
		case r.Query != "service=git-upload-pack":
			return "the query is not that of git's smart HTTP"
		}
	} else {
		if repo, ok = strings.CutSuffix(path, gitReceive); ok {
			push = true
		} else if repo, ok = strings.CutSuffix(path, gitUpload); !ok {
			return "this is not a path of git's smart HTTP"
		}
		want := "application/x-git-upload-pack-request"
		if push {
			want = "application/x-git-receive-pack-request"
		}
		if r.Method != "POST" || r.Query != "" || !contentType(r, want) {
			return "this is not a request of git's smart HTTP (POST, " + want + ")"
		}
	}
	if repo = strings.TrimSuffix(repo, ".git"); len(repo) < 2 || !matchesAny(g.Repos, repo[1:]) {
		return "the repository is not one of its repos"
	}
	if push && !g.Push {
		return "it lets nobody push"
	}
	return ""
}

func (g *Git) inBody(r *hooks.Request) bool {
	return !strings.HasSuffix(r.Path, gitRefs) && !strings.HasSuffix(r.Path, gitUpload)
}

// Branch says whether the rule is about a branch, by its name below refs/heads/.
func (g *Git) Branch(name string) bool { return matchesAny(g.Branches, name) }

// Tag says whether the rule is about a tag, by its name below refs/tags/.
func (g *Git) Tag(name string) bool { return matchesAny(g.Tags, name) }

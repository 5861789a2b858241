package policy

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock/penstock/hooks"
)

// GRPC is the grpc: of an allow rule: calls of these services or methods. It is
// immutable.
type GRPC struct {
	Services []string `json:"services"` // package.Service or package.Service/Method
	paths    []string // as patterns of paths
}

// grpc reads {services: []}.
func (p *parser) grpc(n *yaml.Node) *GRPC {
	g := &GRPC{}
	p.fields(n, "grpc", []field{{"services", func(n *yaml.Node) { g.Services = p.names(n, "services") }}})
	return g
}

func (g *GRPC) key() string { return "grpc" }

func (g *GRPC) check() (msg, hint string) {
	if g.Services == nil {
		return "it has no services", "for example grpc: {services: [package.Service, package.Service/Method]}"
	}
	g.paths = nil
	return checkList("services", g.Services, func(s string) (msg, hint string) {
		service, method, one := strings.Cut(strings.TrimPrefix(s, "/"), "/")
		switch {
		case s[:min(1, len(s))] == "/":
			return "begins with a slash", "write " + quote(s[1:])
		case !grpcName(service, true) || one && !grpcName(method, false) || len(s) > 255:
			return "is neither package.Service nor package.Service/Method", `"*" stands for anything but a slash: "package.*", "package.Service/Get*"`
		case !one:
			method = "*"
		}
		g.paths = append(g.paths, "/"+service+"/"+method)
		return "", ""
	})
}

// grpcName says whether s is an identifier of protobuf, or several with dots
// between; "*" may stand in it.
func grpcName(s string, dots bool) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || '0' <= part[0] && part[0] <= '9' {
			return false
		}
		for i := range len(part) {
			if c := part[i]; c == '-' || c == '~' || !unreserved(c) && c != '*' {
				return false
			}
		}
	}
	return dots || !strings.Contains(s, ".")
}

// String returns it in YAML.
func (g *GRPC) String() string {
	var t speechText
	t.list("services", g.Services)
	return t.String()
}

func (g *GRPC) head(r *hooks.Request, path string) string {
	v := r.Header["Content-Type"]
	rest, ok := "", false
	if len(v) == 1 {
		rest, ok = strings.CutPrefix(v[0], "application/grpc") // gRPC over HTTP/2: lower case
	}
	if !ok || rest != "" && rest[0] != '+' || strings.ContainsAny(rest, ",;") || r.Method != "POST" || r.Query != "" {
		return "this is not a call of gRPC (POST, application/grpc)"
	}
	for _, p := range g.paths {
		if matchPath(p, path) {
			return ""
		}
	}
	return "the method is not one of its services"
}

func (g *GRPC) inBody(*hooks.Request) bool { return false }

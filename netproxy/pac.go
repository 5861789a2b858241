package netproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/netproxy/pac"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// maxChosen bounds the targets of which a generation knows what a PAC file says. Then
// it forgets them all.
const maxChosen = 4096

// chosen is a target, and by whose word a PAC file is asked about it.
type chosen struct {
	target hooks.Target
	by     string
}

// ways are how a target is reached, in the order in which they are tried; nil is
// directly. There is one way or several, or an error. by is the word of a hook, ""
// for the policy's own.
func (g *generation) ways(t *hooks.Target, by string) ([]*upstream.Upstream, error) {
	u := g.policy.Route(t)
	if by == policy.Direct {
		u = nil
	} else if by != "" {
		if u = g.policy.Proxy(by); u == nil {
			return nil, fmt.Errorf("there is no upstream %s", by)
		}
	}
	key := chosen{*t, by}
	switch {
	case u == nil:
		return []*upstream.Upstream{nil}, nil
	case !u.IsPAC():
		return []*upstream.Upstream{g.upstream(u)}, nil
	}
	g.mu.Lock()
	ways, program := g.chosen[key], g.p.pacs.program(u.Name)
	g.mu.Unlock()
	if ways != nil {
		return ways, nil
	}
	ways, err := g.choose(u, t, program)
	if err != nil {
		return nil, &upstream.Error{Upstream: u.Name, Proxy: "its PAC file", Target: *t, Err: err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.p.pacs.program(u.Name) != program {
		return ways, nil // it is another file's word by now
	}
	if known := g.chosen[key]; known != nil {
		return known, nil // connections to a target are all of one way
	}
	if g.chosen == nil || len(g.chosen) >= maxChosen {
		g.chosen = make(map[chosen][]*upstream.Upstream)
	}
	g.chosen[key] = ways
	return ways, nil
}

// choose asks a PAC file. It is told the target and nothing of a request, and looks
// nothing up; what it says must be declared.
func (g *generation) choose(u *policy.Upstream, t *hooks.Target, program *pac.Program) ([]*upstream.Upstream, error) {
	if program == nil {
		return nil, errors.New("it was not read")
	}
	url := "https://" + t.String() + "/"
	if t.Port == 443 {
		url = strings.TrimSuffix(url, ":443/") + "/"
	} else if t.Port == 80 {
		url = "http://" + strings.TrimSuffix(t.String(), ":80") + "/"
	}
	said, err := program.Find(url, t.Name(), pac.Env{Now: time.Now(), Address: u.MyAddress, Resolve: func(name string) netip.Addr {
		a, _ := g.policy.Host(name)
		return a
	}})
	if err != nil {
		return nil, err
	}
	list, err := pac.Result(said)
	if err != nil {
		return nil, err
	}
	var ways []*upstream.Upstream
	for _, w := range list {
		var via *upstream.Upstream
		if w.Scheme != "" {
			i := slices.IndexFunc(u.Among, func(name string) bool {
				p := g.policy.Proxy(name)
				return p != nil && slices.Contains(p.URLs, w.String())
			})
			if i < 0 {
				return nil, fmt.Errorf("it names %s, which is none of %s", w, strings.Join(u.Among, ", "))
			}
			via = g.upstream(g.policy.Proxy(u.Among[i]))
		} else if !slices.Contains(u.Among, policy.Direct) {
			return nil, fmt.Errorf("it says DIRECT, which is none of %s", strings.Join(u.Among, ", "))
		}
		if !slices.Contains(ways, via) {
			ways = append(ways, via)
		}
	}
	return ways, nil
}

// first is the first of several ways that can be gone: a request with a whole URL is
// made for one proxy, with its login.
func first(ctx context.Context, ways []*upstream.Upstream) (*upstream.Upstream, error) {
	if len(ways) == 1 {
		return ways[0], nil
	}
	var err error
	for _, via := range ways {
		if via == nil {
			return nil, nil
		}
		if err = via.Ready(ctx); err == nil {
			return via, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

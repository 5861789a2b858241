package netproxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/netproxy/pac"
	"github.com/penstock/penstock/netproxy/upstream"
	"github.com/penstock/penstock/policy"
)

// retryPAC is how soon a PAC file is got again that could not be, at the latest.
const retryPAC = time.Minute

// pacFiles are the files in force.
type pacFiles struct {
	mu       sync.Mutex
	programs map[string]*pac.Program
	sums     map[string]string // of those that were got
	keeping  bool
}

func (f *pacFiles) program(name string) *pac.Program {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.programs[name]
}

// set puts a file in force; changed says whether it is another one.
func (f *pacFiles) set(name string, program *pac.Program, text []byte) (sum string, changed bool) {
	hash := sha256.Sum256(text)
	sum = hex.EncodeToString(hash[:])
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sums[name] == sum {
		return sum, false
	}
	if f.programs == nil {
		f.programs = make(map[string]*pac.Program)
	}
	if f.sums == nil {
		f.sums = make(map[string]string)
	}
	f.programs[name], f.sums[name] = program, sum
	return sum, true
}

// GetPACs gets the PAC files that the policy has by their URLs. It is called before
// anything is served: without its file no way is known, and nothing goes directly
// because of that.
func (p *Proxy) GetPACs(ctx context.Context) error {
	for _, u := range p.ofURL() {
		if _, _, err := p.getPAC(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// KeepPACs gets those files anew, as often as the policy says, until the proxy is
// closed, and records first which ones are in force. It is called after the record of
// the session's start; a second call does nothing.
func (p *Proxy) KeepPACs() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.pacs.keeping {
		return
	}
	p.pacs.keeping = true // which p.mu guards
	for _, u := range p.ofURL() {
		p.pacs.mu.Lock()
		sum := p.pacs.sums[u.Name]
		p.pacs.mu.Unlock()
		p.cfg.Record.Note(&audit.PACFile{Upstream: u.Name, Action: "read", SHA256: sum})
		p.serving.Go(func() { p.keepPAC(p.ending, u) })
	}
}

// ofURL are the upstreams whose file is got.
func (p *Proxy) ofURL() (list []*policy.Upstream) {
	all := p.cfg.Policy.Upstreams()
	for i := range all {
		if all[i].PACSource() != nil {
			list = append(list, &all[i])
		}
	}
	return list
}

func (p *Proxy) getPAC(ctx context.Context, u *policy.Upstream) (sum string, changed bool, err error) {
	program, text, err := upstream.PACFile(ctx, upstream.Config{Proxy: u, Dial: p.cfg.Dialer.Dial, Roots: p.rules.Load().roots})
	if err != nil {
		return "", false, err
	}
	sum, changed = p.pacs.set(u.Name, program, text)
	return sum, changed, nil
}

// keepPAC renews one file. What can't be got, or not be understood, leaves the one in
// force that is; that is told once, and again after a good one.
func (p *Proxy) keepPAC(ctx context.Context, u *policy.Upstream) {
	failing := false
	for {
		wait := u.RefreshEvery()
		if failing {
			wait = min(wait, retryPAC)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		sum, changed, err := p.getPAC(ctx, u)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && changed:
			p.rules.Load().forgetWays()
			p.cfg.Record.Note(&audit.PACFile{Upstream: u.Name, Action: "renewed", SHA256: sum})
		case err != nil && !failing:
			p.cfg.Record.Note(&audit.PACFile{Upstream: u.Name, Action: "failed", Reason: err.Error()})
			if p.cfg.Notice != nil {
				p.cfg.Notice("the old PAC file is kept: " + err.Error())
			}
		}
		failing = err != nil
	}
}

// forgetWays has every target's way chosen anew. Connections of the old ways end with
// the requests that are on them.
func (g *generation) forgetWays() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.chosen = nil
	for key, t := range g.transports {
		t.CloseIdleConnections()
		delete(g.transports, key)
	}
}

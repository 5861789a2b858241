package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/query"
	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/policy/learn"
)

// recordings are the flows that learn and replay look at.
type recordings struct {
	a   auditFlags
	all bool
}

func (r *recordings) flags(cmd *cobra.Command) {
	r.a.placeFlags(cmd.Flags(), cmd)
	f := cmd.Flags()
	f.BoolVar(&r.all, "all", false, "all sessions")
	f.StringVar(&r.a.host, "host", "", "only flows to `HOST`; * stands for anything")
	f.StringVar(&r.a.exe, "exe", "", "only flows of the `program`, by path or name; * stands for anything")
	f.StringVar(&r.a.since, "since", "", "only from this `time` on: 2h, 15:04, 2006-01-02, or RFC 3339")
	f.StringVar(&r.a.until, "until", "", "only before this `time`")
}

// each calls f for every flow of the sessions, and returns how many sessions those
// are. Without a name it is the last session's.
func (r *recordings) each(ctx context.Context, sessions []string, f func(*query.Flow) error) (int, error) {
	filter, err := r.a.filter(time.Now())
	if err != nil {
		return 0, err
	}
	if r.all {
		if len(sessions) > 0 {
			return 0, &exitError{code: 2, err: fmt.Errorf("--all and %d sessions by name: choose one", len(sessions))}
		}
		stores, err := r.a.stores(ctx)
		if err != nil {
			return 0, err
		}
		n := 0
		for _, store := range stores {
			ids, err := store.Sessions()
			if err != nil {
				return 0, err
			}
			n += len(ids)
			if err := flowsOf(ctx, store, filter, f); err != nil {
				return 0, err
			}
		}
		return n, nil
	}
	if len(sessions) == 0 {
		sessions = []string{""}
	}
	for _, s := range sessions {
		store, err := r.a.storeOf(ctx, s)
		if err != nil {
			return 0, err
		}
		if filter.Session, err = pick(store, s); err != nil {
			return 0, err
		}
		if err := flowsOf(ctx, store, filter, f); err != nil {
			return 0, err
		}
	}
	return len(sessions), nil
}

func flowsOf(ctx context.Context, store *audit.Store, filter query.Filter, f func(*query.Flow) error) error {
	x, err := query.Open(ctx, store)
	if err != nil {
		return err
	}
	defer x.Close()
	return x.Flows(ctx, filter, f)
}

// requestOf is a flow as the policy saw it; false for what no policy is asked about.
// Headers and the length of a body are not recorded.
func requestOf(l *query.Flow) (hooks.Request, bool) {
	r := hooks.Request{Session: l.Session, Flow: l.Flow, Method: l.Method, Path: l.Path, Size: -1}
	for _, p := range []hooks.Protocol{hooks.ProtocolHTTP, hooks.ProtocolHTTPS, hooks.ProtocolTLS, hooks.ProtocolTCP} {
		if p.String() == l.Protocol {
			r.Protocol = p
		}
	}
	if r.Protocol == hooks.ProtocolUnknown || l.Port < 1 || l.Port > 65535 || l.Host == "" {
		return r, false
	}
	r.Target.Port = uint16(l.Port)
	if a, err := netip.ParseAddr(l.Host); err == nil {
		r.Target.Addr = a
	} else if name, err := policy.CanonicalHost(l.Host); err == nil && name == l.Host {
		r.Target.Host = name
	} else {
		return r, false // nothing that was let through is called so
	}
	if l.Exe != "" {
		r.Process = &hooks.Process{PID: l.PID, Exe: hooks.Executable{Path: l.Exe}}
	}
	return r, true
}

// letOut tells whether a flow went out, by the policy's word or because the session
// was one that records only.
func letOut(l *query.Flow) bool { return l.Verdict == "allow" || l.Mode == "audit" }

// privateOf is the address that a flow went to, if the guard lets nothing there
// without a rule that says so.
func privateOf(l *query.Flow) netip.Addr {
	ap, err := netip.ParseAddrPort(l.Upstream)
	if err != nil || l.Via != "" { // then it is the upstream proxy's own
		return netip.Addr{}
	}
	a := ap.Addr().Unmap()
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || netip.MustParsePrefix("100.64.0.0/10").Contains(a) {
		return a
	}
	return netip.Addr{}
}

func newPolicyLearnCmd() *cobra.Command {
	r := &recordings{}
	cmd := &cobra.Command{
		Use:   "learn [SESSION…]",
		Short: "Write the smallest policy that allows what sessions did",
		Long: `Write the smallest policy that allows what sessions did, the last one if none is
named, to the output. Only what was let through counts: a session that was denied
something is learned from after penstock run --mode audit. Names stand as they were
asked for; several below one registered domain become a wildcard, many paths the
directories that they are in, and each rule says how many requests it is for.

Read it before you use it: what a tool asked for is what the tool wanted. Nothing is
looked up, and no rule has what is not recorded: bodies, headers, processes.`,
		Example: `  penstock run --mode audit -- make build
  penstock policy learn > .penstock.yaml
  penstock policy learn --all --since 2026-11-01 --exe npm`,
		RunE: func(cmd *cobra.Command, args []string) error {
			count := map[string]int{}
			var seen []learn.Seen
			at := map[string]int{}
			n, err := r.each(cmd.Context(), args, func(l *query.Flow) error {
				q, ok := requestOf(l)
				if !ok || !letOut(l) {
					count["left out"]++
					return nil
				}
				s := learn.Seen{Request: q, Private: privateOf(l), Count: 1}
				s.Request.Process = nil
				key := fmt.Sprint(q.Protocol, q.Target, q.Method, " ", q.Path, " ", s.Private)
				if i, ok := at[key]; ok {
					seen[i].Count++
					return nil
				}
				at[key] = len(seen)
				seen = append(seen, s)
				return nil
			})
			if err != nil {
				return err
			}
			total := 0
			for _, s := range seen {
				total += s.Count
			}
			doc, left, err := learn.Policy(seen, fmt.Sprintf("Learned by penstock policy learn from %d requests and connections of %d session(s). Read it before you use it.", total, n))
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(doc); err != nil {
				return err
			}
			if c := count["left out"]; c > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "penstock: %d requests were not let through, so no rule is for them; penstock audit show --verdict deny\n", c)
			}
			for _, s := range left {
				fmt.Fprintf(cmd.ErrOrStderr(), "penstock: no rule can allow %s %s\n", text.Clip(s.Request.Method, 40), text.Clip(s.Request.Target.String()+s.Request.Path, 200))
			}
			return nil
		},
	}
	r.flags(cmd)
	return cmd
}

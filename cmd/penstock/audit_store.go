package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/penstock/penstock/audit"
	"github.com/penstock/penstock/audit/query"
)

// stores returns the audits that a command looks into: the one that is named,
// else the caller's own and the one that the privileged supervisor keeps of the
// caller, as far as they are there. At least one is.
func (a *auditFlags) stores(ctx context.Context) ([]*audit.Store, error) {
	if a.dir != "" {
		s, err := audit.OpenExisting(a.dir)
		if err != nil {
			return nil, err
		}
		return []*audit.Store{s}, nil
	}
	var out []*audit.Store
	if !a.rootless {
		s, dir, err := supervisorAudit(ctx, a.socket)
		switch {
		case err == nil:
			a.open = append(a.open, dir)
			out = append(out, s)
		case a.supervised, a.socket != "", !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return nil, err
		}
	}
	if a.supervised {
		return out, nil
	}
	dir, err := audit.DefaultDir(os.Getenv)
	if err == nil {
		var s *audit.Store
		if s, err = audit.OpenExisting(dir); err == nil {
			return append(out, s), nil
		}
	}
	if len(out) > 0 && errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	return nil, err
}

// storeOf returns the one audit that has the session which s names, or the
// newest one if s is empty.
func (a *auditFlags) storeOf(ctx context.Context, s string) (*audit.Store, error) {
	all, err := a.stores(ctx)
	if err != nil {
		return nil, err
	}
	best, newest := all[0], ""
	for _, store := range all {
		ids, err := store.Sessions()
		if err != nil {
			return nil, err
		}
		// Ids sort by time. One that is named whole is in one store only.
		ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, s) })
		if len(ids) > 0 && ids[len(ids)-1] > newest {
			best, newest = store, ids[len(ids)-1]
		}
	}
	return best, nil
}

// sessions lists the sessions of all audits, oldest first.
func (a *auditFlags) sessions(ctx context.Context) ([]query.Session, error) {
	stores, err := a.stores(ctx)
	if err != nil {
		return nil, err
	}
	var all []query.Session
	for _, store := range stores {
		x, err := query.Open(ctx, store)
		if err != nil {
			return nil, err
		}
		list, err := x.Sessions(ctx, a.limit)
		x.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.SortFunc(all, func(x, y query.Session) int { return strings.Compare(x.ID, y.ID) })
	if a.limit > 0 && len(all) > a.limit {
		all = all[len(all)-a.limit:]
	}
	return all, nil
}

// verified returns the audits to be proven. A head is one audit's.
func (a *auditFlags) verified(ctx context.Context, o audit.VerifyOptions) ([]*audit.Store, error) {
	if o.Session == "" && o.Head == "" {
		return a.stores(ctx)
	}
	s, err := a.storeOf(ctx, o.Session)
	return []*audit.Store{s}, err
}

package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

// vault reads a field of what a Vault has, with a token that it keeps alive.
type vault struct {
	*policy.Vault
	name   string
	keeper *Keeper

	renewing sync.Once
}

func (v *vault) get(ctx context.Context, rt http.RoundTripper) (grant, error) {
	var answer struct {
		Lease life                       `json:"lease_duration"`
		Data  map[string]json.RawMessage `json:"data"`
	}
	if err := v.call(ctx, rt, http.MethodGet, v.Path, &answer); err != nil {
		return grant{}, err
	}
	fields := answer.Data
	if v.KV == 2 {
		fields = nil
		if json.Unmarshal(answer.Data["data"], &fields) != nil {
			return grant{}, errors.New("the answer has no data.data: kv: 1 is for other engines")
		}
	}
	var value string
	if raw, ok := fields[v.Field]; !ok || json.Unmarshal(raw, &value) != nil {
		return grant{}, errors.New("the answer has no text in the field")
	}
	v.renewing.Do(func() { v.keeper.tasks.Go(func() { v.keepToken(rt) }) })
	return grant{secrets.NewValue(value), time.Duration(answer.Lease)}, nil
}

func (v *vault) call(ctx context.Context, rt http.RoundTripper, method, path string, out any) error {
	r, err := http.NewRequest(method, v.URL+"v1/"+path, http.NoBody)
	if err != nil {
		return err
	}
	if v.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", v.Namespace)
	}
	r.Header.Set("X-Vault-Request", "true")
	err = v.keeper.cfg.Set.Use(v.part(), func(token string) error {
		if strings.ContainsAny(token, " \t") {
			return errors.New("the token has a space")
		}
		r.Header.Set("X-Vault-Token", token)
		return nil
	})
	if err != nil {
		return err
	}
	return ask(ctx, rt, r, out)
}

func (v *vault) part() string { return secrets.PartName(v.name, policy.PartToken) }

// keepToken renews the token at half of its life, for as long as it can be renewed.
func (v *vault) keepToken(rt http.RoundTripper) {
	type auth struct {
		Lives     life `json:"lease_duration"`
		TTL       life `json:"ttl"` // in what lookup-self says
		Renewable bool `json:"renewable"`
	}
	var self struct {
		Data auth `json:"data"`
	}
	if v.within(func(ctx context.Context) error {
		return v.call(ctx, rt, http.MethodGet, "auth/token/lookup-self", &self)
	}) != nil {
		return // a token may not be allowed to look at itself
	}
	now := self.Data
	now.Lives = now.TTL
	for now.Renewable && now.Lives > 0 {
		left := time.Duration(now.Lives)
		for wait := left / 2; ; wait = left / 8 {
			if left -= wait; !v.sleep(max(wait, time.Second)) || left <= 0 {
				return
			}
			var renewed struct {
				Auth auth `json:"auth"`
			}
			err := v.within(func(ctx context.Context) error {
				return v.call(ctx, rt, http.MethodPost, "auth/token/renew-self", &renewed)
			})
			if err == nil {
				now = renewed.Auth
				break
			}
			v.keeper.cfg.Told(Change{v.part(), "failed", v.keeper.cfg.Set.Redact(err.Error())})
			if left < time.Second {
				return
			}
		}
		v.keeper.cfg.Told(Change{v.part(), "renewed", ""})
	}
}

func (v *vault) within(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(v.keeper.ending, patience)
	defer cancel()
	return f(ctx)
}

// sleep says whether d has passed; false is the keeper's end.
func (v *vault) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-v.keeper.ending.Done():
		return false
	}
}

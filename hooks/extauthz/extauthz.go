package extauthz

import (
	"context"
	"net/http"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/rpc"
)

// Method is what is called.
const Method = "/envoy.service.auth.v3.Authorization/Check"

// MaxAnswer bounds a CheckResponse, in bytes.
const MaxAnswer = 128 << 10

// Hook asks one service. It is safe for concurrent use.
type Hook struct {
	name string
	call *rpc.Method
}

var _ hooks.Hook = (*Hook)(nil)

// New returns a hook that asks a service, https://HOST:PORT or http://HOST:PORT, through
// rt, see rpc.New.
func New(name, target string, rt http.RoundTripper) (*Hook, error) {
	call, err := rpc.New(name, target, Method, rt)
	if err != nil {
		return nil, err
	}
	return &Hook{name, call}, nil
}

// Decide implements hooks.Hook.
func (h *Hook) Decide(ctx context.Context, r *hooks.Request) (hooks.Decision, error) {
	q, err := question(h.name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	doc, err := h.call.Call(ctx, q, MaxAnswer)
	if err != nil {
		return hooks.Decision{}, err
	}
	return answer(doc)
}

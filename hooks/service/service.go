// Package service asks a hook by gRPC in Penstock's own form:
// penstock.hook.v1.Hook/Decide of docs/schema/penstock/hook/v1/hook.proto, at every point.
//
// # Hazards
//
// What a hostile tool would try is in two packages: that the service reads another
// question than the one that leaves, or is believed what it did not say, in
// package wire; that another's answer, half of one or one of a failed call is taken for
// its own, in package rpc. A question has an id of its own, too, that nobody can guess
// and the answer repeats: who mixes up its calls denies.
package service

import (
	"context"
	"net/http"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/rpc"
	"github.com/penstock/penstock/hooks/wire"
)

// Method is what is called.
const Method = "/penstock.hook.v1.Hook/Decide"

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
	id := wire.NewID()
	q, err := wire.ProtoRequest(id, h.name, r)
	if err != nil {
		return hooks.Decision{}, err
	}
	limit := wire.ProtoLimit(r)
	doc, err := h.call.Call(ctx, q, limit)
	if err != nil {
		return hooks.Decision{}, err
	}
	return wire.ProtoDecision(id, doc, limit)
}

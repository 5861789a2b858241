// Package extauthz asks a hook by gRPC, in the form that Envoy asks an external
// authorization service: envoy.service.auth.v3.Authorization/Check. Open Policy Agent,
// Authorino and others answer it.
//
// # Hazards
//
// Envoy takes an empty answer for a yes, and an answer may ask to change the request.
// Here an answer without a status, with a field that is not known, with both kinds of
// outcome, or with a change that can't be made, is no answer, which denies. A deny that
// has a status or a body of its own becomes the hook's reply, with the bounds of one.
// Bytes that protobuf's strings can't hold are an error and not replaced. For the hazards
// of the call see package rpc.
package extauthz

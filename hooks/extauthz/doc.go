// Package extauthz asks a hook by gRPC, in the form that Envoy asks an external
// authorization service: envoy.service.auth.v3.Authorization/Check. Open Policy Agent,
// Authorino and others answer it. The few messages are written and read by hand: the
// registries of generated ones would be made in each process before main.
//
// # Hazards
//
// Envoy takes an empty answer for a yes, and an answer may ask to change the request.
// Here an answer without a status, with a field that is not known, with both kinds of
// outcome, or with a change that can't be made, is no answer, which denies. A deny that
// has a status or a body of its own becomes the hook's reply, with the bounds of one.
// The other side is believed as far as TLS says who it is, which is the transport's to
// verify; in clear it is asked on the host's loopback only, where whoever listens at
// the port answers. Bytes that protobuf's strings can't hold are an error and not
// replaced.
package extauthz

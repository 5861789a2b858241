// Package hookpb has the messages of docs/schema/penstock/hook/v1/hook.proto, and the
// service, for who writes one in Go that a hook with protocol: penstock asks. It is
// generated; .ci/proto writes it again.
//
// Its hazard is to be in the way of what starts often: it fills the registries of protocol
// buffers before main. Nothing of Penstock imports it but tests. The zero value of a
// Decision is no answer, which denies.
package hookpb

// Package protobuf writes and reads the encoding of protocol buffers, as far as hooks
// need it: fields, one after the other. What they mean is who calls it's to say. There are no
// registries and no reflection: those of generated messages would be made in each process
// before main.
//
// # Hazards
//
// Readers of protocol buffers are lenient, and differ in how: of a field that is there
// twice most believe the last, and of messages some join both. Here that is an error, like
// groups, a length beyond the end, and text that is not UTF-8. Nothing is allocated for a length that is
// merely said. Bytes that are returned are the message's own.
package protobuf

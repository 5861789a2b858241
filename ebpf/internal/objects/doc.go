// Package objects is the compiled programs of folder bpf and their bindings, as
// bpf2go writes them; .ci/bpf generates all files of it but this one, with one
// version of clang, and continuous integration compares the bytes. Builders need
// only Go.
//
// Its hazard is a file that is not what its source says: change nothing here by
// hand. Only package ebpf imports it, and Go sees to that.
package objects

package guest

import "unsafe"

// The question and the answer, kept from the collector while Penstock reads and
// writes them.
var question, answer []byte

//go:wasmexport penstock_version
func version() uint32 { return 1 }

//go:wasmexport penstock_alloc
func alloc(size uint32) uint32 {
	if uint32(cap(question)) < size {
		question = make([]byte, size)
	}
	question = question[:size]
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(question))))
}

// Decide is the body of penstock_decide.
func Decide(at, size uint32, judge func(*Request) Decision) uint64 {
	answer = Judge(question[:size], judge)
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(answer))))<<32 | uint64(len(answer))
}

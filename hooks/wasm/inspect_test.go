package wasm

import (
	"bytes"
	"strings"
	"testing"
)

// TestSections: what a module declares too much of, and each place where a section may
// end before what it declares, is refused before the library reads a byte.
func TestSections(t *testing.T) {
	header := []byte("\x00asm\x01\x00\x00\x00")
	raw := func(id byte, body ...byte) []byte { return cat([]byte{id}, leb(uint64(len(body))), body) }
	whole := sec(sectionCode, 1, leb(4), []byte{1, 2, 0x7f, 0x0b})
	for label, tt := range map[string]struct {
		section []byte
		want    string // "": none
	}{
		"types":                     {sec(sectionType, 10_000), ""},
		"too many types":            {sec(sectionType, 10_001), "10001 types, more than 10000"},
		"functions":                 {sec(sectionFunction, 50_000), ""},
		"too many functions":        {sec(sectionFunction, 50_001), "50001 functions, more than 50000"},
		"variables":                 {sec(sectionGlobal, 10_000), ""},
		"too many variables":        {sec(sectionGlobal, 10_001), "10001 variables, more than 10000"},
		"lists":                     {sec(sectionElement, 10_000), ""},
		"too many lists":            {sec(sectionElement, 10_001), "10001 lists of functions, more than 10000"},
		"data":                      {sec(sectionData, 100_000), ""},
		"too many pieces of data":   {sec(sectionData, 100_001), "100001 pieces of data, more than 100000"},
		"a count that does not end": {raw(sectionType, 0x80), "ends too early"},
		"a count of 33 bits":        {raw(sectionType, 0x80, 0x80, 0x80, 0x80, 0x10), "ends too early"},
		"no count":                  {raw(sectionData), "ends too early"},
		"an unknown section":        {raw(99, 0x80), ""},

		"no table":             {sec(sectionTable, 0), ""},
		"a table":              {sec(sectionTable, 1, []byte{0x70, 0}, leb(MaxTable)), ""},
		"too large a table":    {sec(sectionTable, 1, []byte{0x70, 0}, leb(MaxTable+1)), "elements, more than"},
		"two tables":           {sec(sectionTable, 2, []byte{0x70, 0, 1, 0x70, 0, 1}), "2 tables, more than 1"},
		"a table without type": {sec(sectionTable, 1, []byte{0x70}), "ends too early"},
		"a table without size": {sec(sectionTable, 1, []byte{0x70, 0}), "ends too early"},
		"a table's size cut":   {sec(sectionTable, 1, []byte{0x70, 0, 0x80}), "ends too early"},

		"code":                      {whole, ""},
		"too many bodies":           {sec(sectionCode, 50_001), "50001 functions, more than 50000"},
		"too much code":             {raw(sectionCode, bytes.Repeat([]byte{0x80}, maxCode+1)...), "bytes of code, more than"},
		"a body is missing":         {sec(sectionCode, 2, leb(4), []byte{1, 2, 0x7f, 0x0b}), "ends too early"},
		"a body is cut":             {sec(sectionCode, 1, leb(5), []byte{1, 2, 0x7f, 0x0b}), "ends too early"},
		"a body without a list":     {sec(sectionCode, 1, leb(0)), "ends too early"},
		"a group is missing":        {sec(sectionCode, 1, leb(3), []byte{2, 2, 0x7f}), "ends too early"},
		"a group without a type":    {sec(sectionCode, 1, leb(2), []byte{1, 2}), "ends too early"},
		"a group's number is cut":   {sec(sectionCode, 1, leb(2), []byte{1, 0x80}), "ends too early"},
		"many variables":            {sec(sectionCode, 1, leb(uint64(len(leb(maxLocals))+2)), []byte{1}, leb(maxLocals), []byte{0x7f}), ""},
		"too many variables of one": {sec(sectionCode, 1, leb(uint64(len(leb(maxLocals+1))+2)), []byte{1}, leb(maxLocals+1), []byte{0x7f}), "variables"},
		"too many of two":           {sec(sectionCode, 2, leb(4), []byte{1, 2, 0x7f, 0x0b}, leb(uint64(len(leb(maxLocals-1))+2)), []byte{1}, leb(maxLocals-1), []byte{0x7f}), "variables"},
	} {
		for _, behind := range [][]byte{nil, whole} {
			err := inspect(cat(header, behind, tt.section))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s: %v, want %q", label, err, tt.want)
			}
		}
	}
	for label, b := range map[string][]byte{
		"nothing": nil, "no size": cat(header, []byte{sectionType}), "a size that is cut": cat(header, []byte{sectionType, 0x80}),
		"longer than the module": cat(header, []byte{sectionType, 2, 0}), "another format": []byte("\x00wasm\x01\x00\x00"),
		"a component": []byte("\x00asm\x0d\x00\x01\x00"), "no version": header[:7], "too long": cat(header, make([]byte, MaxModule)),
	} {
		if inspect(b) == nil {
			t.Errorf("%s: a module", label)
		}
	}
	if err := inspect(header); err != nil {
		t.Error(err)
	}
}

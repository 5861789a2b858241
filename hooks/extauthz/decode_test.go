package extauthz

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
)

// part is a field that holds a message or a text, number one that holds a number.
func part(field int, b string) string {
	return string(binary.AppendUvarint([]byte{byte(field<<3 | 2)}, uint64(len(b)))) + b
}

func number(field int, n uint64) string {
	return string(binary.AppendUvarint([]byte{byte(field << 3)}, n))
}

// TestDecode: what no library writes is no answer, in whichever part it stands.
func TestDecode(t *testing.T) {
	ok, no := part(1, ""), part(1, number(1, 7))
	for name, tt := range map[string]struct{ doc, want string }{
		"ok":                        {ok, "next "},
		"ok, written out":           {part(1, number(1, 0)+part(2, "fine")+part(3, "x")+part(3, "y")), "next "},
		"ok, with metadata":         {ok + part(3, part(3, "x")) + part(4, "x"), "next "},
		"no":                        {no, "deny status 7 of gRPC"},
		"no, with words":            {part(1, number(1, 7)+part(2, "never")), "deny never"},
		"no, with a body":           {no + part(2, part(1, number(1, 401))+part(2, part(1, part(1, "x-a")+part(2, "b"))+number(3, 1))+part(2, part(1, part(3, "raw")))+part(3, "hi")), "reply 401 map[X-A:[b]] hi"},
		"an ok in 33 bits":          {part(1, number(1, 1<<32)), "deny status 0 of gRPC"},
		"nothing":                   {"", "! " + errStatus.Error()},
		"an outcome alone":          {part(3, ""), "! " + errStatus.Error()},
		"both outcomes":             {no + part(2, "") + part(3, ""), "! " + errBoth.Error()},
		"ok, but denied":            {ok + part(2, ""), "! " + errBoth.Error()},
		"no, but ok":                {no + part(3, ""), "! " + errBoth.Error()},
		"ok, with a field":          {ok + part(3, part(2, "")), "! " + errChange.Error()},
		"two statuses":              {no + ok, "! " + errMalformed.Error()},
		"two codes":                 {part(1, number(1, 7)+number(1, 0)), "! " + errMalformed.Error()},
		"an unknown field":          {ok + number(9, 1), "! " + errUnknown.Error()},
		"an unknown one in status":  {part(1, number(4, 1)), "! " + errUnknown.Error()},
		"an unknown one in denied":  {no + part(2, number(4, 1)), "! " + errUnknown.Error()},
		"an unknown one in a field": {no + part(2, part(2, part(1, number(4, 1)))), "! " + errUnknown.Error()},
		"a status that is a number": {number(1, 0), "! " + errMalformed.Error()},
		"a code that is a text":     {part(1, part(1, "")), "! " + errMalformed.Error()},
		"words that are a number":   {part(1, number(1, 7)+number(2, 1)), "! " + errMalformed.Error()},
		"words that are no text":    {part(1, number(1, 7)+part(2, "\xff")), "! " + errMalformed.Error()},
		"denied is a number":        {no + number(2, 1), "! " + errMalformed.Error()},
		"ok is a number":            {ok + number(3, 1), "! " + errMalformed.Error()},
		"a status that is no part":  {no + part(2, number(1, 401)), "! " + errMalformed.Error()},
		"a status of text":          {no + part(2, part(1, part(1, "401"))), "! " + errMalformed.Error()},
		"a status of 600":           {no + part(2, part(1, number(1, 600))), "! " + errMalformed.Error()},
		"a field that is no part":   {no + part(2, number(2, 1)), "! " + errMalformed.Error()},
		"a pair that is no part":    {no + part(2, part(2, number(1, 1))), "! " + errMalformed.Error()},
		"a name that is no text":    {no + part(2, part(2, part(1, part(1, "\xff")))), "! " + errMalformed.Error()},
		"a value that is no text":   {no + part(2, part(2, part(1, part(1, "x-a")+part(2, "\xff")))), "! " + errMalformed.Error()},
		"a body that is a number":   {no + part(2, number(3, 1)), "! " + errMalformed.Error()},
		"a body that is too long":   {no + part(2, part(3, strings.Repeat("a", hooks.MaxAnswer+1))), "! its reply has more than 65536 bytes"},
		"field 0":                   {ok + "\x00\x00", "! " + errMalformed.Error()},
		"a group":                   {ok + "\x23\x24", "! " + errMalformed.Error()},
		"a tag that does not end":   {ok + "\x80", "! " + errMalformed.Error()},
		"a number that does not":    {ok + "\x20\x80", "! " + errMalformed.Error()},
		"one of 11 bytes":           {ok + "\x20" + strings.Repeat("\x80", 10) + "\x01", "! " + errMalformed.Error()},
		"a length that does not":    {ok + "\x22\x80", "! " + errMalformed.Error()},
		"a length beyond the end":   {ok + "\x22\x01", "! " + errMalformed.Error()},
		"8 bytes that are 7":        {ok + "\x21" + strings.Repeat("x", 7), "! " + errMalformed.Error()},
		"4 bytes that are 3":        {ok + "\x25" + strings.Repeat("x", 3), "! " + errMalformed.Error()},
	} {
		d, err := answer([]byte(tt.doc))
		got := d.Action.String() + " " + d.Reason
		if err != nil {
			if d.Action != hooks.Deny || d.Answer != nil {
				t.Errorf("%s: an error with %+v", name, d)
			}
			got = "! " + err.Error()
		} else if a := d.Answer; a != nil {
			got = fmt.Sprintf("%s %d %v %s", d.Action, a.Status, a.Header, a.Body)
		}
		if got != tt.want {
			t.Errorf("%s: %s; want %s", name, got, tt.want)
		}
	}
}

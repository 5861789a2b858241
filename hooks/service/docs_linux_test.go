package service

import (
	"net/http"
	"strings"
	"testing"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/hooks/hookstest"
)

// TestDocumentedService asks the service of docs/hooks.md, which is of another
// implementation of gRPC and of protocol buffers.
func TestDocumentedService(t *testing.T) {
	rt := &http.Transport{Protocols: new(http.Protocols)}
	rt.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(rt.CloseIdleConnections)
	h, err := New("h", "http://"+hookstest.Documented(t, "../.."), rt)
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]string{"GET": "next", "DELETE": "denied by hook h: nothing is deleted from here"} {
		r := hookstest.Request()
		r.Method = method
		d := asked(t, h, r)
		if got := strings.TrimSpace(d.Reason + map[bool]string{true: "next"}[d.Action == hooks.Next]); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
	long := strings.Repeat("x", hooks.MaxBody-len(" a@b.example"))
	for text, want := range map[string]string{
		"nothing here": "nothing here", "for ann@example.com and bob@example.com, \xff": "for [address] and [address], \xff", long + " a@b.example": long + " [address]",
	} {
		r := hookstest.At(hooks.PointRequestBody)
		r.Body = &hooks.Body{Data: []byte(text), Last: true, Room: hooks.MaxBody}
		d, err := h.Decide(t.Context(), r)
		if err != nil || d.Action != hooks.Next || d.Change == nil || string(d.Change.Body) != want {
			t.Errorf("%.50q: %v, %v", text, d.Action, err)
		}
	}
}

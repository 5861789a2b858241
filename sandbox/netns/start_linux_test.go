package netns

import (
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	ipv6, took, err := Probe(t.Context(), "/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(ipv6, took)
	for range 10 {
		_, took, err = Probe(t.Context(), "/proc/self/exe")
		t.Log(took, err)
	}
	_ = time.Second
}

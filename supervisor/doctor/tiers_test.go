package doctor

import (
	"context"
	"errors"
	"testing"
)

// trial says what it was made with.
type trial struct {
	said string
	err  error
}

func (trial) Name() string                          { return "coming" }
func (t trial) Try(context.Context) (string, error) { return t.said, t.err }

// TestTrials: what works in a trial is told, and is no tier in which a session ran.
func TestTrials(t *testing.T) {
	tiers, err := Tiers(t.Context(), Options{Trials: []Trial{trial{said: "it\x1bboots"}, trial{err: errors.New("nothing\nthere")}}})
	if err != nil || len(tiers) != 2 {
		t.Fatal(tiers, err)
	}
	for i, want := range []string{"no session runs in it yet, though this works here: it?boots", "nothing; there"} {
		if got := tiers[i]; got.Name != "coming" || got.Error != want || got.Capabilities != nil {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}

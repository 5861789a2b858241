package chain

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock/penstock/hooks"
)

// TestGivesUpInTime: a hook whose other side has given up at the deadline did not answer
// in time, whoever of both is heard first.
func TestGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			c := newChain(t, Entry{Name: "h", Timeout: time.Second, Hook: hookFunc(func(context.Context, *hooks.Request) (hooks.Decision, error) {
				<-time.After(time.Second)
				return hooks.Decision{}, errors.New("the call was cancelled")
			})})
			if d, _ := c.Request(t.Context(), request); d.Action != hooks.Deny || !strings.HasSuffix(d.Reason, errSlow.Error()) {
				t.Fatalf("%+v", d)
			}
		}
	})
}

package proxyrole

import (
	"fmt"

	"github.com/penstock/penstock/hooks/chain"
)

// hookNotes tells the user of hooks that deny because they don't answer.
func hookNotes(list []chain.Stats) (notes []string) {
	for _, h := range list {
		if h.Failed > 0 {
			notes = append(notes, fmt.Sprintf("hook %s was asked %d times and gave no answer to %d of them, which were denied", h.Hook, h.Asked, h.Failed))
		}
	}
	return notes
}

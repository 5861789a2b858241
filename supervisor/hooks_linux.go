package supervisor

import (
	"bytes"
	"fmt"

	"github.com/penstock/penstock/policy"
)

// hookKeys reads the keys of the policy's webhooks as the caller, whose they are.
// Unlike a secret of the pen's a key that is not there is an error: nothing would
// get out.
func (s *session) hookKeys() (map[string][]byte, error) {
	keys := map[string][]byte{}
	for _, h := range s.cfg.Policy.Hooks() {
		w, ok := h.Asks.(*policy.Webhook)
		if !ok {
			continue
		}
		var key []byte
		if w.KeyFile != "" {
			raw, err := readFile(w.KeyFile, maxSecret)
			if err != nil {
				return nil, fmt.Errorf("use the key of hook %s (%s): %w", h.Name, h.From.Ref(), err)
			}
			key = bytes.TrimRight(raw, "\r\n") // editors and echo end a file with a line break
		} else if v, ok := s.cfg.Host.Lookup(w.KeyEnv); ok {
			key = []byte(v)
		}
		if len(key) == 0 {
			return nil, fmt.Errorf("use the key of hook %s (%s): %s is not set", h.Name, h.From.Ref(), w.KeyEnv)
		}
		keys[h.Name] = key
	}
	return keys, nil
}

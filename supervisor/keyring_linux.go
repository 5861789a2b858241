package supervisor

import (
	"context"
	"fmt"

	"github.com/penstock/penstock/internal/text"
	"github.com/penstock/penstock/policy"
	"github.com/penstock/penstock/supervisor/config"
	"github.com/penstock/penstock/supervisor/keyring"
)

// readKeyring reads from the caller's keyring, with the caller's rights: this is never
// the privileged supervisor. A bus whose socket a pen can replace is none.
func readKeyring(ctx context.Context, h *config.Host, item policy.KeyringItem, writable []string) ([]byte, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, secretCommand)
	defer cancel()
	socket, err := keyring.Socket(h.Getenv("DBUS_SESSION_BUS_ADDRESS"), h.Getenv("XDG_RUNTIME_DIR"))
	if err != nil {
		return nil, false, err
	}
	if dir := writableBy(socket, writable); dir != "" {
		return nil, false, fmt.Errorf("the session bus at %s is in %s, where a tool in a pen can change it", text.Escape(socket), text.Escape(dir))
	}
	b, ok, err := keyring.Read(ctx, socket, h.UID, item)
	if len(b) > maxSecret {
		return nil, false, fmt.Errorf("the item has more than %d bytes", maxSecret)
	}
	return b, ok, err
}

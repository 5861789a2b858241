package keyring

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
)

// Socket returns the path of the session bus's socket, "@" before an abstract one.
// address is DBUS_SESSION_BUS_ADDRESS, in the form that the D-Bus specification has
// under "Server Addresses"; without one it is where systemd has the bus, in runtimeDir
// (XDG_RUNTIME_DIR).
func Socket(address, runtimeDir string) (string, error) {
	if address == "" {
		if !filepath.IsAbs(runtimeDir) {
			return "", errors.New("there is no session bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set; run it in your desktop's session, or by dbus-run-session")
		}
		return filepath.Join(runtimeDir, "bus"), nil
	}
	for one := range strings.SplitSeq(address, ";") {
		kind, rest, _ := strings.Cut(one, ":")
		if kind != "unix" {
			continue
		}
		for pair := range strings.SplitSeq(rest, ",") {
			k, v, _ := strings.Cut(pair, "=")
			v, err := url.PathUnescape(v)
			switch {
			case err != nil || strings.ContainsRune(v, 0):
			case k == "path" && filepath.IsAbs(v):
				return v, nil
			case k == "abstract" && v != "":
				return "@" + v, nil
			}
		}
	}
	return "", errors.New("the session bus is at no unix socket: set DBUS_SESSION_BUS_ADDRESS to one, as unix:path=/run/user/1000/bus")
}

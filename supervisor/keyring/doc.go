// Package keyring reads a value from the keyring of the session's user: what GNOME
// Keyring, KWallet or KeePassXC offer as the Secret Service on the session's D-Bus
// (https://specifications.freedesktop.org/secret-service-spec/latest/).
//
// Its hazard is whom it asks. Whoever is at the bus's address says what the value is,
// and a policy may pin requests to it: so only a unix socket is connected to, whose
// other end the kernel says is of the same user, and the caller leaves out one that
// a pen can write to. An address that means a program to execute or a port of TCP is
// refused, and no bus is started. It only reads: nothing is unlocked, created or
// changed, and nobody is asked for a password, because a session may be one that
// nobody looks at. The value crosses the bus encrypted (Diffie-Hellman, AES), not in
// clear, so that it is in no monitor of the bus.
//
// What a tool in a pen would try is to reach that bus: its socket is in no pen, and an
// abstract one is of another network namespace. Only the part of the supervisor that
// runs with its user's rights imports it, never the privileged daemon or the proxy.
package keyring

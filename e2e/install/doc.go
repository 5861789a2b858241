// Package install builds the packages and installs the .deb for real, in a
// throwaway copy of this Debian: a mount and pid namespace whose root is an
// overlay over the machine's own. What is installed, which users are added and
// what runs there is gone with it.
//
// It needs root, dpkg and overlayfs, and fails without them when CI=true; as an
// ordinary user it is skipped. Its hazard is the machine beneath: sysctls, binary
// formats and the like are not the copy's alone, so that systemd, where it is the
// copy's PID 1, starts nothing but the package's own units. It holds no code of
// the product and nothing imports it.
package install

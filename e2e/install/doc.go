// Package install builds the packages and installs the .deb for real, in a
// throwaway copy of this Debian: a mount and pid namespace whose root is an
// overlay over the machine's own. What is installed, which users are added and
// what runs there is gone with it.
//
// It needs root, dpkg and overlayfs, and fails without them when CI=true; as an
// ordinary user it is skipped. Its hazard is the copy's likeness: PID 1 is no
// systemd there, so what systemd does with the units is shown by
// systemd-analyze and systemd-socket-activate only. It holds no code of the
// product and nothing imports it.
package install

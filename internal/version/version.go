// Package version tells which Penstock this is. The hazard is only a lie: the
// value comes from the linker, and a build without it says so.
package version

// version is set by -ldflags "-X github.com/penstock/penstock/internal/version.version=…".
var version = "0.1.0-dev"

// String returns the version, e.g. "0.1.0".
func String() string { return version }

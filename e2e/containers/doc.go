// Package containers runs the image that make image makes with real engines: podman with
// runc and crun, as root and rootless, and Docker, each with the options that
// docs/containers.md names and without each of them. The tables of that document are read
// here, so that they are what was run.
//
// It needs root and the engines of .ci/install, and the network once, for the image's
// package files (PENSTOCK_DEBS names a directory that has them). The containers have no
// network, storage of their own below the test's directory, and are gone at its end.
//
// It holds no code of the product and nothing imports it.
package containers

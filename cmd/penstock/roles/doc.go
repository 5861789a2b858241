// Package roles becomes the small roles before the rest of the program is
// initialised.
//
// Go initialises packages in the order of their import paths, each after what it
// imports (language specification, "Program initialization"). This package's
// init function therefore runs before the initialisers of everything that the
// small roles don't use and that needs net/http or comes later in that order:
// goproxy, which parses an RSA key, the SQLite engine, YAML, the whole of HTTP.
// A run starts three such processes, and that work was half of what each of them
// cost.
//
// It is also less to trust: the shim and the builder, which stand between the
// command and its pen, run none of that code.
//
// Its hazard is an import too many: whatever a small role imports runs in each of
// them first. TestRolesAreSmall reads back what was initialised. Only cmd/penstock
// imports this package.
package roles

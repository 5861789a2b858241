// Package donate hands a child role its configuration and its descriptors, and
// starts one that dies with its parent; a role that runs already gets both over
// a socket (Send, Accept).
//
// A role gets one sealed memfd (where there is none, as on macOS, a file that has lost
// its name and that nobody has open for writing) as descriptor 3, holding a JSON document with
// the configuration and the names of the descriptors that follow it. Nothing
// goes through the environment or the argument list, because both can be read
// from /proc by others. The hazard is inheritance: the receiver marks every
// descriptor close-on-exec before it does anything else. Only the supervisor
// and the roles it starts import it.
package donate

// Package darwin is the sandbox tier of macOS: it turns a sandbox.Spec into a profile of
// Seatbelt, in its language SBPL, and into the arguments of sandbox-exec. The profile is
// a function of values and of what Host says of the machine's links and names.
//
// None of it was run on macOS yet. What a profile means is checked by an evaluator in the
// tests, under both readings of the language that are around: that the last rule that
// matches decides, and that a rule for an operation by name goes before one for its
// family. The proxy role has a profile of its own (ProxyProfile).
//
// There is no mount namespace and no network namespace. A path is allowed or denied where
// it is, so a Spec that shows something elsewhere, or makes a file, is refused; what Linux
// covers by memory is denied. The network is the host's, and of it the profile allows TCP
// to the proxy's port at localhost. The rules follow the order of the mounts, so that the
// deepest one decides here, too.
//
// # Hazards
//
// A hostile command would try:
//
//   - Text in a path that closes the string and adds a rule. Quotes and backslashes are
//     escaped; what can't be written for certain (control characters, bytes that are no
//     UTF-8, more than a path can have) is refused.
//   - A symbolic link in place of a directory that is granted. Seatbelt judges by the
//     resolved path, so a grant that leads over a link would be one of its target. Only
//     the system's own links in the root directory are followed.
//   - A rename: of a directory around something protected, which the rule by path would
//     not follow, or of a prepared one to the name of a missing one. What lies between a
//     writable mount and something denied can't be made, moved or removed, nor can a
//     mount's own directory.
//   - Another spelling. File systems here take .GIT for .git, and Seatbelt sees the
//     spelling on disk once there is something. So what is denied where the command can
//     write has to exist (layout.Claim), and every name has to be as it is on disk.
//   - The second way to all data, /System/Volumes/Data, which is always denied.
//   - A service that acts for it outside: launchd, Apple events, the pasteboard, the
//     keychain, the resolver, trustd (which fetches URLs that a certificate names). Of
//     Mach services there are those of the user database, of temporary directories and of
//     the log, and what the caller names.
//   - To outlive the session: who leaves the command's process groups does, and keeps the
//     profile, which nobody can take off, and of which the only port is closed then.
//   - To lie about the profile: whether it holds is tried by the shim before the command
//     is executed (shim.Tries), and never asked later.
//   - Terminals of the user's other sessions: only the session's own, and those that the
//     command makes, can be opened.
//   - Programs that run with another identity, and hard links to what it may only read:
//     nothing allows them.
//
// The supervisor on macOS and the list of backends import it.
package darwin

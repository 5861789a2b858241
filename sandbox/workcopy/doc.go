// Package workcopy gives a session a copy of its work directory in place of the
// directory itself: Out copies it and says what it copied (Manifest), Manifest.Changes
// compares with that what became of the copy, and Manifest.Bring applies to the work
// directory what of it was reviewed, and no more. Store keeps copies:
//
//	copies/PROJECT-HASH/NAME/
//	    copy.json    what it is: whose copy, of which session, whether that has ended
//	    lock         held by whoever uses it, and by the janitor until the pen is gone
//	    manifest     what was copied
//	    tree/        the files; the pen sees them where the work directory is
//
// A rename is a deletion and a creation. Owners, access control lists, extended
// attributes, hard links and holes are not carried; a file that is edited keeps the
// owner that it has on the host, where the caller may set it.
//
// # What a hostile copy tries
//
// The guest may write anything into the copy, also while it is read here. Nothing in
// it is executed, nothing outside of it is read, and nothing outside of the work
// directory is written:
//
//   - Parents that are symbolic links, links swapped in during the walk, .. and mounts:
//     each step is an openat2(2) below an open directory with RESOLVE_BENEATH,
//     NO_SYMLINKS, NO_MAGICLINKS and NO_XDEV; names are single parts, and a file
//     system that lists one with a slash, or one twice, is refused. So it is in the
//     work directory, where a tool of another session may swap directories meanwhile.
//   - Hard links to a file outside, whose content would come into the work directory:
//     a file with more names than the copy has of it is left out.
//   - Named pipes, sockets, devices: never opened, left out. Set-user-id, set-group-id
//     and sticky bits: what has one is left out.
//   - Names with newlines, escapes, bytes that are no UTF-8: carried as they are,
//     escaped where they are shown.
//   - Names that are another's on a host that ignores case or code points that can't be
//     seen (.GIT, .g<U+200C>it, con<U+FB01>g, git~1): protected names are compared
//     folded. A directory that is there under another spelling is a conflict.
//   - Protected and hidden names (package layout has the list, Manifest keeps it): what
//     the host executes later is left out, and so is what would take the place of a
//     directory above it. Hidden names aren't copied at all.
//   - Files without end, sparse ones, a million entries, depth: Limits.
//   - A link in the work directory's own place, made by a tool of another session that
//     has what is above it: its path is opened without following any.
//   - A file that changes after it was reviewed: its hash is not the reviewed one, and
//     it is not brought.
//
// What can't be brought is named (Left), and is never taken for deleted.
//
// # The host's own changes
//
// A file is replaced or deleted only if it is what it was when it was copied; else that
// is a conflict, which is reported and changes nothing. Replacing exchanges the two
// names (RENAME_EXCHANGE), looks whether what came out is what was compared, and
// exchanges them back if not, so that an editor that saves at that moment loses nothing.
// A file is there as before or whole: it is written beside its place and renamed. Bring
// that was interrupted, by SIGKILL too, can be called again: what is done already is as
// it should be, and a file half-written is replaced.
//
// # Hazard
//
// It writes into the user's files with the user's rights. Symbolic links are brought as
// they are, wherever they lead (Change.Outside says so): so it is in every tier, and
// whoever follows them is outside. A kept copy is as the tool left it: nobody should run
// what is in it. Only the supervisor and the command penstock copy may import it.
package workcopy

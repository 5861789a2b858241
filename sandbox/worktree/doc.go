// Package worktree gives a session a copy of a repository's files, on a branch
// of its own, in place of the files themselves; and brings back what the tool
// made of it, as verified commits.
//
// Each worktree is a directory below the user's state directory:
//
//	worktrees/PROJECT-HASH/NAME/
//	    worktree.json   what it is: repository, branch, commit it began from
//	    lock            held by whoever uses it
//	    own/            configuration that the pen's repository began with
//	    tree/           the files; the pen sees them where the repository's are
//	    git/            the pen's own repository; the pen sees it at GitPath
//
// The pen's repository is no linked worktree. It has refs, index, hooks and
// configuration of its own, and reads the main repository's objects through a
// read-only mount (ObjectsPath). Nothing of the main repository can be written
// in the pen. RATIONALE.md compares the two designs.
//
// # What a tool would try
//
// The tool owns tree/ and git/ and may write anything there: configuration that
// runs programs (core.fsmonitor, filters, hooks, textconv, include.path), refs
// that are symbolic links, alternates and commondir files that lead elsewhere,
// packs whose index gives an object another's name, pipes that block whoever
// opens them, nested repositories, a million files. So:
//
//   - No git of the host is ever started in tree/ or git/, nor reads a file of
//     theirs. What must read them runs in a closed pen (closed): no network, no
//     home, seccomp, nothing writable but memory; with another repository, whose
//     configuration is ours.
//   - What comes out is two commit ids and a pack, which the host's git takes as
//     it takes a fetch from a stranger: each object is hashed again and checked
//     (index-pack --strict), what it links to must be there, and no ref but
//     this worktree's own branch is written. Replace refs, grafts and shallow
//     files don't come along.
//   - Git run in the main repository has hooks, file system monitor, filters,
//     merge drivers, external diffs, text conversion, pager, editor and transport
//     turned off: a .gitattributes of the tool's selects none of them.
//   - tree/.git says where the pen has its repository, which is nowhere on the
//     host: git run there by the user finds none, also not one that the tool
//     pretends in tree/ itself.
//   - Names become directories and a ref, and are slugged. Removal deletes what is
//     registered, below the root, without following a link (os.Root).
//
// # Hazard
//
// The tool can read all objects of the repository, those of other branches too.
// What is merged is executed by the host: see Hazards, which names the files. It
// must not be imported by a role: it starts programs.
package worktree

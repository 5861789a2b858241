// Package layout decides what of the host's file system a pen sees: it turns
// what a policy grants and what the machine has into the mounts and files of a
// sandbox.Spec. It only reads (through Host), so it is a function of values;
// Claim, which makes and removes placeholders, is its one thin edge.
//
// The model: a pen begins empty. Every target has at most one mount, and the
// deepest one decides, so nothing depends on the order of a policy's lists. For
// one target hiding beats protecting beats writing beats reading beats what the
// system and the toolchains bring.
//
// # Protected paths
//
// Names in the work directory that the host executes later (git hooks and
// configuration, editor and agent configuration, .penstock.yaml) stay as they
// are, whatever the tool tries:
//
//   - What exists is mounted over itself, read-only. A mount point can't be
//     removed or renamed (EBUSY), nor replaced by a rename onto it.
//   - Each directory between the writable mount and a protected path is mounted
//     over itself too: else "mv .git x; mkdir .git" would leave the protection
//     behind in x.
//   - What does not exist gets a placeholder on the host, an empty directory or
//     file, because the kernel mounts only over what exists and no other
//     unprivileged means (Landlock, seccomp, a filter of names) denies one name
//     in a directory that is else writable. It is there while the pen lives,
//     covered in the pen, and removed after it; who still uses it is known by a
//     lock, so that sessions in one directory don't take it from each other and
//     what a killed supervisor left is removed by the janitor process or the
//     next session. Git does not see them.
//   - A protected path that is a symbolic link can't be a mount point; what it
//     leads to is protected, and the link is compared after the run (Links).
//
// Not covered, on purpose or for want of a means: repositories nested in the
// work directory (a tool may clone; the host executes their hooks only if
// somebody works there), new git submodules, build files (Makefile,
// package.json), whose running is the work itself.
//
// # Hazards
//
// A link planted in the work directory by an earlier session (.vscode ->
// ~/.ssh) must not become the source of a mount: no source contains a link
// below a writable directory, and package posture compares the root of each
// mount with the declared one after the fact. A socket in a granted directory
// would be a way out, since connecting to a path crosses network namespaces:
// those bound when the pen starts are covered. A worktree's .git file could
// name any directory: it is followed only if that directory points back.
//
// Without mounts (InPlace, for macOS) the same rules are a list of what may be read and
// written where it is; nothing stands for what is missing but the placeholders.
//
// Only the supervisor imports it.
package layout

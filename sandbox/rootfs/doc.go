// Package rootfs mounts a pen's root in the builder, before bwrap.
//
// bwrap reads the whole mount table again for each mount it makes, 0.15 ms each;
// a pen has forty. So the builder, which is root of the user namespace around
// bwrap's, makes a mount namespace of its own, puts the root together with the
// kernel's newer calls (open_tree, mount_setattr, move_mount; Linux 5.12), and
// bwrap binds the finished tree as one. Whatever bwrap adds to privileges and
// namespaces stays as it is, and package posture compares the result as before.
//
// Hazards. The process has capabilities in its user namespace, and works with
// paths of which some lie in directories that a tool could write before. So
// sources are opened before anything is mounted, without following links where
// somebody could have planted one, targets are resolved below the new root
// without any link, and a mount point is made only in memory, never on the
// host's disk.
//
// Only sandbox/netns (the builder) and sandbox/bwrap import it.
package rootfs

// Package lint holds the architecture of the tree to what ARCHITECTURE.md says,
// by tests over the source text: who may import whom, who may resolve names,
// where the environment may be read, how long a file may be.
//
// Its hazard is a rule that never fires, so each rule has a bad sample that it
// must report. It reads every Go file for every system and build tag, not only
// those of this machine. It has no code outside its tests and nobody imports it.
package lint

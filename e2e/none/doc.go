// Package none runs commands without a sandbox: what is captured, decided and
// recorded all the same, what is refused instead of not being kept, what is said
// about it, and that nothing of the command outlives its session.
//
// Its hazard is a test that shows only what is captured of a command that wants to
// be: that one which does not gets away is said in docs/tiers.md. It has no code
// outside its tests and nobody imports it.
package none

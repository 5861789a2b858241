// Package demo shows the whole job without the internet: an origin on the
// host's loopback plays the world, a client in a real pen tries to reach it by
// many means, and what arrived is compared with what the policy says.
//
// Its hazard is a demonstration that can't fail: what counts is what arrived at
// the origin, not what the client says, and any difference is an error. It runs
// penstock as a user would, as a command. Only cmd imports it.
package demo

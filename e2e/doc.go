// Package e2e is the end-to-end suite: real clients and real coding agents, each
// run unchanged through `penstock run`, against a private internet (package
// world) that holds their servers.
//
// Every case shows three things: what the policy allows works, what it does not
// allow never arrives outside, and the audit has both. A client that is not
// installed skips its test, or fails it when CI=true; .ci/install installs all.
//
//	PENSTOCK_BIN=path   test this binary instead of building one
//	PENSTOCK_BARE=1     run the clients without a pen: is the rig at fault?
//	PENSTOCK_CLIENTS=d  where .ci/install put the agents
//
// It holds no code of the product and nothing imports it.
package e2e

// Package tiers compares the tiers: the same command with the same files under the same
// policy, each time in a pen of another tier, and each tier's own ways to fail.
//
// What a tier may do otherwise than the tier bwrap is a list in its documentation; a
// difference that is not there fails. Real clients in a tier are run in package e2e.
//
// It holds no code of the product and nothing imports it.
package tiers

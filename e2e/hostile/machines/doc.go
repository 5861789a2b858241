// Package machines makes the attempts of the suite of attacks (package hostile) in
// machines of their own, the tier microvm: apart from it for the time they take.
//
// It holds no code of the product and nothing imports it.
package machines

// Package pac reads proxy auto-configuration files and asks them which way a
// target is reached: FindProxyForURL with the functions that Netscape, Mozilla
// and Microsoft document for it.
//
// It is an interpreter for the part of JavaScript that such files are written in:
// ES5 without prototypes, getters, labels, with and eval, and with let and const.
// What it does not know is an error when the file is read. All text is ASCII, as
// host names and URLs are, and regular expressions are RE2's, in linear time.
//
// # Hazards
//
// The file is the policy's, but its argument is the pen's: a host that makes it
// loop, recurse, or fill memory. So each evaluation has a number of steps, of
// bytes, and of calls within each other, which are counted, not measured; it begins
// from the file's text anew, so no evaluation leaves anything for the next. The
// result is text that is parsed to the letter (Result): what is not an entry of
// known form is an error, and who asks takes an error for a refusal.
//
// No function resolves a name: a lookup would tell the network what is asked for,
// before it is recorded. Of dnsResolve, isResolvable and isInNet, names have no
// address but that of the policy's fixed names; myIpAddress is what the policy says.
//
// A hostile tool would choose names: to reach another proxy than those that are
// declared (the result is compared with them), to send what is internal directly
// (among the ways is what the policy lists), to stop the evaluation (that refuses its
// own request). All of these have tests.
//
// It imports nothing of the project, and holds nothing but the program.
package pac

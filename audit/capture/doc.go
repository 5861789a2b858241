// Package capture keeps, beside a session's audit, what its requests and answers
// said: header fields and bodies, up to the limits of the rules that ask for it. It
// is a file of JSON lines, one for each flow, bounded in all, which only the user
// may read.
//
// HAZARD: everything in it is hostile bytes or somebody's data. A tool tries
//   - to have a secret's value kept: a Writer redacts every name and value before
//     it is encoded, beyond the limit too, so that no half of one stays at the cut;
//   - to fill the disk or the proxy's memory: both are bounded for the session;
//   - to pass unseen by a full file: what is not kept is said in the audit;
//   - to forge a line: bodies are base64, the rest is marshalled.
//
// It is no part of the audit's hash chain, and proves nothing.
package capture

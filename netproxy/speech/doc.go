// Package speech reads the beginning of requests as far as a rule about a protocol
// on top of HTTP wants to know it (git:, jsonrpc: and graphql: of a policy), and
// says whether they are what the rule allows.
//
// HAZARDS. Every byte is the pen's. What is judged here is read again by a server,
// with another parser: each difference between the two is a way past the rule. A
// tool tries
//   - a command list that means two things: a NUL or a line end within a name, a
//     second list behind an empty one, a signed list, options, commands behind
//     capabilities, lengths in odd forms;
//   - names of refs that a server reads otherwise: dots, "@{", controls, HEAD, refs
//     outside of branches and tags;
//   - to move a branch to where its history is lost, by a false old id, by commits
//     that are not in the pack, by a pack that says of itself what it does not hold;
//   - to hide the list in a compressed body that unpacks otherwise elsewhere (two
//     members, bytes behind the end);
//   - JSON of which the last of two keys counts here and the first one there, or one
//     in capitals; a call among a thousand others; a method with half a character,
//     a document behind the document, or so deep that a parser gives up;
//   - a mutation beside a query, in a batch, behind what only some lexers take for a
//     comment, named by a hash; a field under another name, in a fragment, in a
//     circle of fragments;
//   - to exhaust memory or time: endless lists, packs and deltas that grow.
//
// So: nothing is guessed and nothing repaired; what is not in the one form that git
// itself writes is refused; commits are found by computing their hashes; every
// buffer, list and loop has a bound; nothing is sent on before it was judged, and
// what is sent on are the very bytes that were judged.
//
// Only netproxy may import it.
package speech

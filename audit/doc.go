// Package audit records what a session did: events, the hash chain that holds
// them together, the one writer of a session's file, the store of all sessions
// and its ledger, and the proof that nothing was changed since.
//
// A record is one line of JSON. Its first members are always schema, session,
// seq, time, type and prev, in this order; prev is the SHA-256 of the line
// before it. docs/schema/audit.schema.json describes every type.
//
// HAZARDS. The bytes in a record are chosen by a hostile tool, and the record is
// what a person trusts afterwards. A tool tries to break out of its line (new
// lines, quotes, invalid UTF-8), to paint over the reader's terminal (ESC, C1,
// bidi and invisible runes), to make lines so long that others are lost, to fill
// the disk or the writer's memory so that its traffic goes unrecorded, and to
// have the proxy killed between deciding and recording. So: every string goes
// through one escaping function with a bound; a record that could not be written
// is an error, which the proxy turns into a deny; and what was lost is counted
// by a loss record that goes before anything else.
//
// What a chain can't prove: somebody who may write the store can rewrite a
// session, its ledger and every hash. The head hash that is printed at the end
// of a run, kept elsewhere, proves it (VerifyOptions.Head). The last record of a
// session that was killed has nothing after it that vouches for it; verify
// calls such a session unclosed, never whole.
//
// The policy package, sandbox, hooks and ebpf must not import it. It never
// imports a database: audit/query does.
package audit

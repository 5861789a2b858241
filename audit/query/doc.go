// Package query answers questions about recorded sessions: lists, flows by host,
// rule or verdict, and records as they are written.
//
// It keeps an index in SQLite beside the sessions' files, brought up to date
// when it is asked and never while a session runs. The index is a cache: when
// it is missing, of another version or damaged it is made anew, and what it says
// proves nothing (audit.Store.Verify does). Its hazard is that it reads files
// which hold a hostile tool's bytes: they reach SQL only as parameters, lines
// that are no records are counted and left out, and nothing is escaped here for
// a terminal. The proxy role must not import it: a database is no part of it.
package query

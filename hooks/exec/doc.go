// Package exec asks a hook that is a process: one that stays, which is asked many
// questions, a line of JSON each (Hook), or one for each question, which reads it
// from its standard input, writes its decision and ends with code 0 (Once). Both
// speak the form of package wire. It starts nothing itself: Start is somebody else's,
// because the proxy may not.
//
// # Hazards
//
// The pen chooses most of a question's bytes, and JSON has no line break in them:
// that is what keeps one question from being two. What the process writes is not
// believed: a line that is no answer to a question on its way ends the process and
// denies what it had not answered, since nobody knows what else in its output is not
// what it seems. So do a line without end, a question that it does not take, and
// questions that it keeps for itself. A process that has ended is started again, and
// nothing that it was asked is asked twice.
package exec

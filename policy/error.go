package policy

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// maxErrors bounds how many errors one load reports: a file full of rubbish is
// as well described by its first ones.
const maxErrors = 30

// Error is one thing that is wrong with a policy.
type Error struct {
	File    string `json:"file"`           // path, or the flag with its value
	Line    int    `json:"line"`           // from 1; 0 when the whole file or a flag is meant
	Column  int    `json:"column"`         // from 1
	Message string `json:"message"`        // printable: values from the file are quoted
	Hint    string `json:"hint,omitempty"` // what to do about it, "" if there is nothing to say
}

// Error returns file:line:col: message, and the hint on the same line.
func (e *Error) Error() string {
	s := e.position() + ": " + e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) position() string {
	f := printable(e.File)
	if e.Line == 0 {
		return f
	}
	return f + ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(max(e.Column, 1))
}

// ErrorList is everything wrong with a policy, in the order of the files' lines.
type ErrorList struct {
	Errors []*Error
}

// Error returns one line for each error.
func (l *ErrorList) Error() string {
	var b strings.Builder
	for i, e := range l.Errors {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == maxErrors {
			fmt.Fprintf(&b, "and %d more errors", len(l.Errors)-maxErrors)
			break
		}
		b.WriteString(e.Error())
	}
	return b.String()
}

// Unwrap lets errors.As find a single *Error.
func (l *ErrorList) Unwrap() []error {
	out := make([]error, len(l.Errors))
	for i, e := range l.Errors {
		out[i] = e
	}
	return out
}

func (l *ErrorList) add(s Source, hint, format string, args ...any) {
	l.Errors = append(l.Errors, &Error{
		File: s.File, Line: s.Line, Column: s.Column,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// err returns the list as an error, sorted, or nil if it is empty.
func (l *ErrorList) err() error {
	if len(l.Errors) == 0 {
		return nil
	}
	sort.SliceStable(l.Errors, func(i, j int) bool {
		a, b := l.Errors[i], l.Errors[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return l
}

// quote makes a value from a hostile file safe for a terminal, and short.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// printable returns s itself when it can't harm a terminal, else quoted.
func printable(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

// didYouMean returns a hint naming the word nearest to s, or "" if none is near.
func didYouMean(s string, words []string) string {
	best, dist := "", len(s)/3+1
	if len(s) > 64 {
		return ""
	}
	for _, w := range words {
		if d := distance(strings.ToLower(s), w); d <= dist && (best == "" || d < dist) {
			best, dist = w, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + quote(best) + "?"
}

// hintWords is didYouMean with the whole list when nothing is near.
func hintWords(s string, words []string) string {
	if h := didYouMean(s, words); h != "" {
		return h
	}
	return "known here: " + strings.Join(words, ", ")
}

// distance is the optimal string alignment distance: a swap of two neighbours
// counts once, because that is how people mistype.
func distance(a, b string) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

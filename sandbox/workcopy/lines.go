package workcopy

import (
	"bytes"
	"fmt"
	"io"

	"github.com/penstock/penstock/internal/text"
)

// Bounds of a comparison by lines: around is the lines shown beside a change,
// maxTable the cells of the table that finds what two texts have in common. Above it,
// what differs is shown as replaced in one piece.
const (
	around   = 3
	maxTable = 4 << 20
)

// line is one of a difference: ' ' in both, '-' only before, '+' only after.
type line struct {
	sign byte
	text []byte
}

// compareLines lists the lines of two texts, in order.
func compareLines(before, after []byte) (out []line) {
	a, b := bytes.SplitAfter(before, []byte("\n")), bytes.SplitAfter(after, []byte("\n"))
	// What begins and ends the same is most of it.
	head := 0
	for head < len(a) && head < len(b) && bytes.Equal(a[head], b[head]) {
		out = append(out, line{' ', a[head]})
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && bytes.Equal(a[len(a)-1-tail], b[len(b)-1-tail]) {
		tail++
	}
	out = append(out, common(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, l := range a[len(a)-tail:] {
		out = append(out, line{' ', l})
	}
	return out
}

// common compares by the longest common subsequence of lines.
func common(a, b [][]byte) (out []line) {
	i, j := 0, 0
	if len(a)*len(b) <= maxTable {
		// best[i][j] is the length of that of a[i:] and b[j:].
		wide := len(b) + 1
		best := make([]int32, (len(a)+1)*wide)
		for i := len(a) - 1; i >= 0; i-- {
			for j := len(b) - 1; j >= 0; j-- {
				if bytes.Equal(a[i], b[j]) {
					best[i*wide+j] = best[(i+1)*wide+j+1] + 1
				} else {
					best[i*wide+j] = max(best[(i+1)*wide+j], best[i*wide+j+1])
				}
			}
		}
		for i < len(a) && j < len(b) {
			switch {
			case bytes.Equal(a[i], b[j]):
				out = append(out, line{' ', a[i]})
				i, j = i+1, j+1
			case best[(i+1)*wide+j] >= best[i*wide+j+1]:
				out = append(out, line{'-', a[i]})
				i++
			default:
				out = append(out, line{'+', b[j]})
				j++
			}
		}
	}
	for ; i < len(a); i++ {
		out = append(out, line{'-', a[i]})
	}
	for ; j < len(b); j++ {
		out = append(out, line{'+', b[j]})
	}
	return out
}

// writeLines prints what differs with the lines around it.
func writeLines(w io.Writer, before, after []byte) {
	lines := compareLines(before, after)
	next := 0 // the first that is not printed
	for i, l := range lines {
		if l.sign == ' ' {
			continue
		}
		if from := i - around; from > next {
			if next > 0 || from > 0 {
				fmt.Fprintln(w, "  …")
			}
			next = from
		}
		for ; next < len(lines) && next <= i+around; next++ {
			if next > i && lines[next].sign != ' ' {
				break
			}
			one(w, lines[next])
		}
	}
}

func one(w io.Writer, l line) {
	if len(l.text) == 0 {
		return // after the last newline
	}
	t, whole := bytes.CutSuffix(l.text, []byte("\n"))
	fmt.Fprintf(w, "  %c%s\n", l.sign, text.Escape(string(t)))
	if !whole {
		fmt.Fprintln(w, "  \\ no newline at the end")
	}
}

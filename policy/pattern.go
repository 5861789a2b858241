package policy

import "strings"

// A path pattern is a canonical path in which "*" stands for any run of bytes
// within a segment and a segment "**" for any number of whole segments, also
// none. So /my-org/** matches /my-org, /my-org/, /my-org/a and /my-org/a/b, and
// not /my-organisation; /my-org/* matches /my-org/ and /my-org/a, and not
// /my-org or /my-org/a/b.
//
// A path may have several readings, because servers differ in what they decode
// and merge. An allow must match all readings, a deny needs to match one.
type pathPattern struct {
	text string // as in the file
	form string // its reading, see reading
}

// parsePathPattern checks and prepares a pattern.
func parsePathPattern(s string) (pathPattern, *patternError) {
	bad := func(msg, hint string) (pathPattern, *patternError) {
		return pathPattern{}, &patternError{"path " + quote(s) + " " + msg, hint}
	}
	switch {
	case s == "":
		return bad("is empty", `write "/**" for any path, or leave paths out`)
	case s[0] != '/':
		return bad("does not begin with a slash", "write "+quote("/"+strings.TrimPrefix(s, "./")))
	case len(s) > 2048:
		return bad("is longer than 2048 bytes", "")
	case strings.ContainsAny(s, "?#"):
		return bad("has a ? or #", "patterns match the path only: leave the query out")
	}
	for _, seg := range strings.Split(s[1:], "/") {
		if strings.Contains(seg, "**") && seg != "**" {
			return bad(`has "**" within a segment`, `"**" stands for whole segments: write /a/**/b; "*" matches within a segment`)
		}
	}
	c, err := CanonicalPath(s)
	if err != nil {
		hint := ""
		if strings.Contains(s, " ") {
			hint = "write %20 for a space"
		}
		return bad("can't be matched: "+cause(err), hint)
	}
	if plain, err := normalise(s); err != nil || string(plain) != c {
		return bad("has dot segments", "write "+quote(c))
	}
	return pathPattern{text: s, form: reading(c)}, nil
}

// reading decodes what every server decodes before it looks for a resource:
// all triplets but those that may change the structure (%2F, %5C, %3B, %25) and
// those outside ASCII. It returns s itself when there is nothing to decode.
func reading(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if d, ok := triplet(s, i); ok {
			if pchar(d) && d != ';' && d != '*' {
				b = append(b, d)
			} else {
				b = append(b, s[i:i+3]...)
			}
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// maxReadings is the plain reading and every combination of three liberties.
const maxReadings = 8

// readings fills out with the readings of a canonical path and returns how many
// there are: as it is, and with each combination of what a server may do:
// decode further, ignore ";parameters", merge slashes. A path that offers none
// of these liberties has one reading, and no allocation takes place.
func readings(path string, out *[maxReadings]string) int {
	plain := reading(path)
	out[0] = plain
	if strings.IndexByte(plain, '%') < 0 && strings.IndexByte(plain, ';') < 0 && !strings.Contains(plain, "//") {
		return 1
	}
	n := 1
	add := func(s string) {
		for i := 0; i < n; i++ {
			if out[i] == s {
				return
			}
		}
		out[n] = s
		n++
	}
	for mask := 1; mask < maxReadings; mask++ {
		s := plain
		if mask&1 != 0 {
			s = deepReading(s)
		}
		if mask&2 != 0 {
			s = withoutParameters(s)
		}
		if mask&4 != 0 {
			s = withMergedSlashes(s)
		}
		add(s)
	}
	return n
}

// deepReading decodes every level, with encoded slashes and backslashes as slashes.
func deepReading(s string) string {
	d := decodeFully(s)
	b := make([]byte, 0, len(d))
	for i := 0; i < len(d); i++ {
		switch c := d[i]; {
		case c == '/' || c == '\\':
			b = append(b, '/')
		case pchar(c):
			b = append(b, c)
		default:
			b = appendTriplet(b, c)
		}
	}
	return string(b)
}

// withoutParameters cuts each segment at its first semicolon.
func withoutParameters(s string) string {
	if strings.IndexByte(s, ';') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	skip := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '/':
			skip = false
		case ';':
			skip = true
		}
		if !skip {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func withMergedSlashes(s string) string {
	if !strings.Contains(s, "//") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '/' && i > 0 && s[i-1] == '/' {
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// matchPath matches one reading of a path with the form of a pattern. It walks
// both segment by segment and goes back to the last "**" at most, so that its
// work is bounded by the product of their lengths, and does not allocate.
func matchPath(pattern, path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	p, s := 0, 0           // at the slash before the next segment, or at the end
	starP, starS := -1, -1 // after the last "**", and where it has eaten up to
	for s < len(path) {
		if p < len(pattern) {
			pe := segmentEnd(pattern, p)
			seg := pattern[p+1 : pe]
			if seg == "**" {
				starP, starS = pe, s
				p = pe
				continue
			}
			se := segmentEnd(path, s)
			if matchSegment(seg, path[s+1:se]) {
				p, s = pe, se
				continue
			}
		}
		if starP < 0 {
			return false
		}
		starS = segmentEnd(path, starS)
		p, s = starP, starS
	}
	for p < len(pattern) {
		pe := segmentEnd(pattern, p)
		if pattern[p+1:pe] != "**" {
			return false
		}
		p = pe
	}
	return true
}

// segmentEnd returns the index of the slash that ends the segment after the
// slash at i, or the length.
func segmentEnd(s string, i int) int {
	if j := strings.IndexByte(s[i+1:], '/'); j >= 0 {
		return i + 1 + j
	}
	return len(s)
}

// matchSegment matches a segment with "*" for any run of bytes.
func matchSegment(pattern, s string) bool {
	if strings.IndexByte(pattern, '*') < 0 {
		return pattern == s
	}
	p, i := 0, 0
	starP, starI := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			starP, starI = p+1, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case starP >= 0:
			starI++
			p, i = starP, starI
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

package pac

import (
	"strings"
	"time"
)

// zone takes a last argument "GMT" off.
func zone(m *machine, now time.Time, args []value) (time.Time, []value) {
	if n := len(args); n > 0 {
		if s, ok := args[n-1].(string); ok && strings.EqualFold(s, "GMT") {
			return now.UTC(), args[:n-1]
		}
	}
	return now, args
}

// between says whether v is in a range that may go over the end, as from FRI to MON.
func between(v, from, to int) bool {
	if from <= to {
		return from <= v && v <= to
	}
	return v >= from || v <= to
}

func word(m *machine, v value, words string) int {
	s, ok := v.(string)
	if !ok || len(s) != 3 {
		return -1
	}
	i := strings.Index(words, strings.ToUpper(s))
	if i < 0 || i%3 != 0 {
		return -1
	}
	return i / 3
}

func weekdays(m *machine, now time.Time, args []value) value {
	now, args = zone(m, now, args)
	const days = "SUNMONTUEWEDTHUFRISAT"
	if len(args) < 1 || len(args) > 2 {
		m.mistake("weekdayRange takes one or two days")
	}
	from := word(m, args[0], days)
	to := word(m, args[len(args)-1], days)
	if from < 0 || to < 0 {
		m.mistake("weekdayRange takes SUN, MON, TUE, WED, THU, FRI and SAT")
	}
	return between(int(now.Weekday()), from, to)
}

// dates compares day, month and year, as far as both ends have them, the largest first.
func dates(m *machine, now time.Time, args []value) value {
	now, args = zone(m, now, args)
	type part struct{ kind, v int } // 0 a year, 1 a month, 2 a day
	read := func(v value) part {
		if i := word(m, v, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"); i >= 0 {
			return part{1, i + 1}
		}
		n, ok := v.(float64)
		switch {
		case ok && n >= 1 && n <= 31:
			return part{2, int(n)}
		case ok && n >= 1000 && n <= 9999:
			return part{0, int(n)}
		}
		m.mistake("dateRange takes days, months like JAN, and years")
		return part{}
	}
	n := len(args)
	if n < 1 || n > 6 || n > 1 && n%2 == 1 {
		m.mistake("dateRange takes one value, or a first and a last date of the same form")
	}
	half := max(1, n/2)
	is := [3]int{now.Year(), int(now.Month()), now.Day()}
	var from, to, have [3]int
	for i := range half {
		a, b := read(args[i]), read(args[n-half+i])
		if a.kind != b.kind || have[a.kind] != 0 {
			m.mistake("dateRange takes a first and a last date of the same form")
		}
		have[a.kind], from[a.kind], to[a.kind] = 1, a.v, b.v
	}
	number := func(v [3]int) (n int) {
		for i := range v {
			n = n*10000 + v[i]*have[i]
		}
		return n
	}
	if have[0] != 0 && number(from) > number(to) {
		return false // years don't begin again
	}
	return between(number(is), number(from), number(to))
}

// times is from the first moment to the last: an hour alone lasts to its end.
func times(m *machine, now time.Time, args []value) value {
	now, args = zone(m, now, args)
	var v []int
	for i, a := range args {
		most := 59
		n, ok := a.(float64)
		if half := len(args) / 2; half == 0 || i%half == 0 {
			most = 24
		}
		if !ok || n < 0 || n > float64(most) {
			m.mistake("timeRange takes hours, minutes and seconds")
		}
		v = append(v, int(n))
	}
	seconds := now.Hour()*3600 + now.Minute()*60 + now.Second()
	switch len(v) {
	case 1:
		return now.Hour() == v[0]
	case 2: // until the second hour begins
		if v[0] == v[1] {
			return now.Hour() == v[0]
		}
		return between(seconds, v[0]*3600, v[1]*3600-1)
	case 4:
		return between(seconds, v[0]*3600+v[1]*60, v[2]*3600+v[3]*60+59)
	case 6:
		return between(seconds, v[0]*3600+v[1]*60+v[2], v[3]*3600+v[4]*60+v[5])
	}
	m.mistake("timeRange takes 1, 2, 4 or 6 numbers")
	return nil
}

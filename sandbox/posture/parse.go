package posture

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseStatus reads what Check needs of /proc/PID/status.
func parseStatus(text string, o *Observation) error {
	o.Caps = make(map[string]uint64, 5)
	for _, line := range strings.Split(text, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "PPid":
			o.Parent, err = strconv.Atoi(value)
		case "Uid":
			err = four(value, &o.UID)
		case "Gid":
			err = four(value, &o.GID)
		case "Groups":
			o.Groups, err = numbers(value)
		case "NSpid":
			o.NSPID, err = numbers(value)
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			o.Caps[key], err = strconv.ParseUint(value, 16, 64)
		case "NoNewPrivs":
			o.NoNewPrivs = value == "1"
		case "Seccomp":
			o.Seccomp, err = strconv.Atoi(value)
		case "Seccomp_filters":
			o.Filters, err = strconv.Atoi(value)
		}
		if err != nil {
			return fmt.Errorf("read process status: %s: %w", key, err)
		}
	}
	if len(o.Caps) != 5 {
		return errors.New("read process status: capability sets are missing")
	}
	return nil
}

func numbers(s string) ([]int, error) {
	var out []int
	for _, f := range strings.Fields(s) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func four(s string, to *[4]int) error {
	n, err := numbers(s)
	if err != nil {
		return err
	}
	if len(n) != 4 {
		return fmt.Errorf("%d numbers, not 4", len(n))
	}
	copy(to[:], n)
	return nil
}

// ParseMounts reads a mount table (proc_pid_mountinfo(5)).
func ParseMounts(text string) ([]Mounted, error) {
	var out []Mounted
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		f := strings.Split(line, " ")
		if len(f) < 10 {
			return nil, fmt.Errorf("read mount table: line %q", line)
		}
		m := Mounted{Device: f[2], Root: unescape(f[3]), Target: unescape(f[4]), Options: strings.Split(f[5], ",")}
		var err error
		if m.ID, err = strconv.Atoi(f[0]); err == nil {
			m.Parent, err = strconv.Atoi(f[1])
		}
		i := 6
		for ; i < len(f) && f[i] != "-"; i++ {
			m.Optional = append(m.Optional, f[i])
		}
		if err != nil || i+1 >= len(f) || !strings.HasPrefix(m.Target, "/") {
			return nil, fmt.Errorf("read mount table: line %q", line)
		}
		m.Type = f[i+1]
		out = append(out, m)
	}
	return out, nil
}

// unescape undoes the kernel's octal escapes of blank, tab, newline, backslash
// and hash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unifiedCgroup takes the unified hierarchy's path out of /proc/PID/cgroup.
func unifiedCgroup(text string) string {
	for _, line := range strings.Split(text, "\n") {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return p
		}
	}
	return ""
}

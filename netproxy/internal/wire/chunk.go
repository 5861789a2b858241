package wire

// chunkSize reads a chunk line with its CR LF (RFC 9112 section 7.1). Extensions
// are passed on but must be plain text.
func chunkSize(line []byte) (n int64, ok bool) {
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return 0, false
	}
	line = line[:len(line)-2]
	i := 0
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int64(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int64(c-'A'+10)
		default:
			if i == 0 || c != ';' {
				return 0, false
			}
			for _, c := range line[i:] {
				if c < ' ' || c >= 0x7f {
					return 0, false
				}
			}
			return n, true
		}
		if i > 14 {
			return 0, false
		}
	}
	return n, i > 0
}

// trailerLine accepts a field that may stand in a trailer, or the empty line.
func trailerLine(b []byte) bool {
	line, _, err := cutLine(b)
	if err != nil {
		return false
	}
	if len(line) == 0 {
		return true
	}
	name, _, err := field(line)
	if err != nil {
		return false
	}
	return !neverTrailer(name)
}

// neverTrailer names the fields that say where a message ends or goes to.
func neverTrailer(name []byte) bool {
	for _, no := range []string{"host", "content-length", "transfer-encoding", "connection", "trailer", "upgrade", "te"} {
		if equalFold(name, no) {
			return true
		}
	}
	return false
}

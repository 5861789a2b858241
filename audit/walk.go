package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// walk reads a chain, fills r and calls each, if not nil, for every line that
// is a record. It goes on after a problem, from the line as it stands, so that
// one change is one problem.
func walk(f io.Reader, session string, r *Result, each func(line int, raw []byte, h header)) {
	in := bufio.NewReaderSize(f, 64<<10)
	prev, seq := genesis(session), uint64(0)
	r.Head = hex.EncodeToString(prev[:])
	var long []byte
	for n := 1; ; n++ {
		raw, size, err := readLine(in, &long)
		if err == io.EOF && size == 0 {
			return
		}
		r.Bytes += size
		if err == io.EOF {
			r.Torn = n
			if len(raw) > maxLine {
				r.problem(n, KindForged, "longer than %d bytes", maxLine)
			}
			return
		}
		if err != nil {
			r.problem(n, KindFile, "%v", err)
			return
		}
		raw = raw[:len(raw)-1]
		r.Records++
		h, err := parseHeader(raw)
		if err == nil && session != ledgerChain {
			err = checkRecord(h, raw, session)
		}
		if err != nil {
			r.problem(n, KindForged, "%v", err)
			prev, seq = sha256.Sum256(raw), seq+1
			r.Head = hex.EncodeToString(prev[:])
			continue
		}
		r.link(n, h, seq, prev)
		if h.Type == TypeLoss {
			r.Lost += lossCount(raw)
		}
		if r.First == "" {
			r.First = h.Time
		}
		r.Last = h.Time
		if each != nil {
			each(n, raw, h)
		}
		prev, seq = sha256.Sum256(raw), h.Seq
		r.Head = hex.EncodeToString(prev[:])
	}
}

// link says what is wrong, if anything is, between a record and the one before.
func (r *Result) link(n int, h header, seq uint64, prev [32]byte) {
	switch {
	case h.Seq == seq+1 && h.Prev == prev:
	case h.Seq == seq+1 && n == 1:
		r.problem(n, KindForged, "is not the first record of this file's session")
	case h.Seq == seq+1:
		r.problem(n-1, KindChanged, "record %d is not the one that record %d was chained to", seq, h.Seq)
	case h.Seq > seq+1:
		r.problem(n, KindDropped, "records %d to %d are missing before it", seq+1, h.Seq-1)
	default:
		r.problem(n, KindInserted, "record %d stands after record %d", h.Seq, seq)
	}
}

// checkRecord is for what the chain can't tell: that the line is JSON of a known type.
func checkRecord(h header, raw []byte, session string) error {
	switch h.Type {
	case TypeSessionStart, TypeSessionEnd, TypeProcess, TypeDNS, TypeFlowOpen, TypeFlowClose, TypeDrop,
		TypeAccess, TypeSecretUse, TypeRenewal, TypePACFile, TypeViolation, TypeLimit, TypeControl, TypeExec, TypePublish, TypeAsk, TypeLoss:
	default:
		return fmt.Errorf("unknown type %q", h.Type)
	}
	if h.Session != session {
		return fmt.Errorf("a record of session %s", h.Session)
	}
	if !json.Valid(raw) {
		return errors.New("not JSON")
	}
	return nil
}

func lossCount(raw []byte) uint64 {
	var l struct{ Count uint64 }
	if json.Unmarshal(raw, &l) != nil {
		return 0
	}
	return l.Count
}

// readLine returns the next line with its new line, or what is left and io.EOF,
// and its length in the file. Of a line that is too long it returns a part that
// is too long as well.
func readLine(in *bufio.Reader, long *[]byte) ([]byte, int64, error) {
	raw, err := in.ReadSlice('\n')
	size := int64(len(raw))
	if err != bufio.ErrBufferFull {
		return raw, size, err
	}
	*long = append((*long)[:0], raw...)
	for err == bufio.ErrBufferFull {
		raw, err = in.ReadSlice('\n')
		size += int64(len(raw))
		if len(*long) <= maxLine {
			*long = append(*long, raw...)
		} else if bytes.HasSuffix(raw, []byte("\n")) {
			*long = append(*long, '\n')
		}
	}
	return *long, size, err
}

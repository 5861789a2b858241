package firecracker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds an answer with its header, in bytes.
const maxAnswer = 64 << 10

// call makes one request on a connection of its own and returns the answer's body. The
// API answers PUT and PATCH with 204, GET with 200; everything else is a refusal.
func (c *Client) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	name := method + " " + path
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		return nil, fmt.Errorf("firecracker: %s: %w", name, stopped(ctx, err))
	}
	defer conn.Close()
	defer ended(ctx, conn)()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n", method, path)
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, fmt.Errorf("firecracker: %s: %w", name, stopped(ctx, err))
	}
	status, answer, err := read(conn)
	if err != nil {
		return nil, fmt.Errorf("firecracker: %s: %w", name, stopped(ctx, err))
	}
	if method == "GET" && status == 200 || method != "GET" && status == 204 {
		return answer, nil
	}
	var fault struct {
		Message string `json:"fault_message"`
	}
	if json.Unmarshal(answer, &fault) != nil {
		fault.Message = string(answer)
	}
	return nil, &Error{name, status, fault.Message}
}

// ended ends what waits on a connection with the context; the function that it returns
// undoes that.
func ended(ctx context.Context, conn net.Conn) func() bool {
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // it is closed
}

// errAnswer is what every error about an answer's form is.
var errAnswer = errors.New("malformed answer")

// read reads an answer (RFC 9112) in the form in which Firecracker writes them: a status,
// fields, and a body whose length is told.
func read(r io.Reader) (status int, body []byte, err error) {
	bounded := &io.LimitedReader{R: r, N: maxAnswer}
	defer func() {
		if err != nil && bounded.N <= 0 {
			err = fmt.Errorf("%w: more than %d bytes", errAnswer, maxAnswer)
		}
	}()
	t := textproto.NewReader(bufio.NewReader(bounded))
	line, err := t.ReadLine()
	if err != nil {
		return 0, nil, short(err)
	}
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	code, _, _ := strings.Cut(rest, " ")
	status, err = strconv.Atoi(code)
	if !ok || err != nil || len(code) != 3 || status < 200 {
		return 0, nil, fmt.Errorf("%w: %s", errAnswer, quote(line))
	}
	fields, err := t.ReadMIMEHeader()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil, short(err)
	} else if err != nil {
		return 0, nil, fmt.Errorf("%w: %s", errAnswer, quote(err.Error()))
	}
	if status == 204 {
		return status, nil, nil
	}
	lengths := fields["Content-Length"]
	if len(lengths) != 1 || fields["Transfer-Encoding"] != nil {
		return 0, nil, fmt.Errorf("%w: it does not tell its length", errAnswer)
	}
	n, err := strconv.ParseUint(lengths[0], 10, 31)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: a length of %s", errAnswer, quote(lengths[0]))
	}
	if n > maxAnswer {
		return 0, nil, fmt.Errorf("%w: more than %d bytes", errAnswer, maxAnswer)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(t.R, body); err != nil {
		return 0, nil, short(err)
	}
	return status, body, nil
}

// short says of an answer that it ended too early.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", errAnswer)
	}
	return err
}

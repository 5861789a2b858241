package secrets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock/penstock/hooks"
	"github.com/penstock/penstock/policy"
)

// AWS says that a secret is a pair of AWS keys, with which requests are signed. Its
// value is the access key's id; the secret key and the session token are parts.
type AWS struct {
	Services []string `json:"services"`
	Regions  []string `json:"regions"`
}

// Bounds of what is held in memory to be signed.
const (
	maxHashed = 16 << 20 // a body whose hash the tool does not say
	maxChunk  = 4 << 20  // one chunk
)

// Sign is Swap for requests that the tool has signed with placeholders of AWS keys: it
// signs them anew, for the service and region that the tool has signed for, if they are
// declared. r must be a copy that only goes upstream, and nothing of it may be changed
// afterwards. It is the last of all.
func (s *Set) Sign(r *http.Request, target hooks.Target, confidential bool, now time.Time) ([]Swapped, error) {
	if s == nil {
		return nil, nil
	}
	for _, v := range r.Header["Authorization"] {
		i, _ := s.find(v)
		if i < 0 || s.secrets[i].AWS == nil {
			continue
		}
		c := &s.secrets[i]
		refuse := func(reason string) error {
			return &Violation{Secret: c.Name, Where: "header Authorization", Reason: reason}
		}
		asked, ok := parseAWS(v)
		switch {
		case !s.goes(c, target):
			return nil, refuse(s.reason(i, target))
		case !confidential:
			return nil, refuse("the signed request would travel in clear text")
		case len(r.Header["Authorization"]) != 1 || !ok || asked.key != c.Placeholder:
			return nil, refuse("it must be the access key of an " + awsAlgorithm + " signature")
		case !slices.Contains(c.AWS.Services, asked.service):
			return nil, refuse("it is declared for service " + strings.Join(c.AWS.Services, ", ") + ", and this is for " + scopeText(asked.service))
		case !slices.Contains(c.AWS.Regions, asked.region):
			return nil, refuse("it is declared for region " + strings.Join(c.AWS.Regions, ", ") + ", and this is for " + scopeText(asked.region))
		}
		value, err := c.value()
		if err != nil {
			return nil, err
		}
		if err := s.sign(c, r, asked, value, now); err != nil {
			return nil, err
		}
		return []Swapped{{c.Name, c.Header, value}}, nil
	}
	return nil, nil
}

// scopeText makes a word of the pen's fit for an error.
func scopeText(s string) string {
	if s == "" || len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "another"
	}
	return s
}

func (s *Set) sign(c *Secret, r *http.Request, asked awsCredential, value Value, now time.Time) error {
	secretKey := c.parts[policy.PartSecretKey].now.Load().value
	if secretKey.Empty() {
		return &NoValueError{c.Name}
	}
	// What the tool has of these is none of the account's; the proxy knows the time.
	delete(r.Header, "X-Amz-Security-Token")
	delete(r.Header, "Authorization")
	signer := newAWSSigner(secretKey.reveal(), now.UTC().Format(awsTime), asked.region, asked.service)
	r.Header["X-Amz-Date"] = []string{signer.time}
	r.Header["Accept-Encoding"] = []string{"identity"} // as for every answer that is searched
	names := append(asked.signed, "host", "x-amz-date", "x-amz-content-sha256")
	if token := c.parts[policy.PartSessionToken]; token != nil {
		if token.now.Load().value.Empty() {
			return &NoValueError{c.Name}
		}
		r.Header["X-Amz-Security-Token"] = []string{token.now.Load().value.reveal()}
		names = append(names, "x-amz-security-token")
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return signable(r, name) == nil })

	payload, err := s.payload(c, r)
	if err != nil {
		return err
	}
	canonical := canonicalRequest(r.Method, wirePath(r.URL), r.URL.RawQuery, names, func(n string) []string { return signable(r, n) }, payload, asked.service == "s3")
	signature := signer.request(canonical)
	r.Header["Authorization"] = []string{awsAlgorithm + " Credential=" + value.reveal() + "/" + signer.scope + ", SignedHeaders=" + strings.Join(names, ";") + ", Signature=" + signature}
	if payload == awsAlgorithmStreaming {
		r.Body = &chunkSigner{in: bufio.NewReaderSize(r.Body, 32<<10), body: r.Body, signer: signer, last: signature}
	}
	return nil
}

const awsAlgorithmStreaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"

// payload returns what is signed of the body: what the tool says that its hash is,
// which the service checks, or the hash itself.
func (s *Set) payload(c *Secret, r *http.Request) (string, error) {
	refuse := func(reason string) error {
		return &Violation{Secret: c.Name, Where: "header X-Amz-Content-Sha256", Reason: reason}
	}
	if said := r.Header["X-Amz-Content-Sha256"]; len(said) > 0 {
		switch {
		case len(said) != 1:
			return "", refuse("it is there more than once")
		case said[0] == "UNSIGNED-PAYLOAD", said[0] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER", said[0] == awsAlgorithmStreaming, isHash(said[0]):
			return said[0], nil
		}
		return "", refuse("a body that is signed in this way can't be signed anew: use chunks without trailers, or an unsigned payload")
	}
	if r.Body == nil || r.Body == http.NoBody {
		return emptyHash, nil
	}
	body := r.Body
	doc, err := io.ReadAll(io.LimitReader(body, maxHashed+1))
	if err != nil {
		return "", err
	}
	if len(doc) > maxHashed {
		return "", refuse(fmt.Sprintf("it is needed for a body of more than %d MiB", maxHashed>>20))
	}
	r.Body = readCloser{bytes.NewReader(doc), body}
	if len(r.Trailer) == 0 {
		r.ContentLength, r.TransferEncoding = int64(len(doc)), nil
	}
	return hashOf(doc), nil
}

func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if unhex(s[i]) < 0 {
			return false
		}
	}
	return true
}

// chunkSigner signs the chunks of a body anew (aws-chunked). Each is held in memory:
// its signature stands before it. No length changes.
type chunkSigner struct {
	in     *bufio.Reader
	body   io.Closer
	signer *awsSigner
	last   string // signature before
	out    []byte
	ended  bool
	err    error
}

func (c *chunkSigner) Close() error { return c.body.Close() }

func (c *chunkSigner) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.next()
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

var errChunk = errors.New("the body is not in signed chunks of aws-chunked")

func (c *chunkSigner) next() {
	if c.ended {
		if _, err := c.in.ReadByte(); err != io.EOF { //nolint:errorlint // readers return it bare
			if err == nil {
				err = errChunk
			}
			c.err = err
			return
		}
		c.err = io.EOF
		return
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		if err == io.EOF || errors.Is(err, bufio.ErrBufferFull) { //nolint:errorlint // readers return it bare
			err = errChunk
		}
		c.err = err
		return
	}
	size, rest, ok := strings.Cut(strings.TrimSuffix(string(line), "\r\n"), ";chunk-signature=")
	n, err := strconv.ParseUint(size, 16, 32)
	switch {
	case !ok || err != nil || len(size) > 8 || !isHash(rest) || !bytes.HasSuffix(line, []byte("\r\n")):
		c.err = errChunk
		return
	case n > maxChunk:
		c.err = fmt.Errorf("a chunk of the body has more than %d MiB", maxChunk>>20)
		return
	}
	head := len(size) + len(";chunk-signature=") + 64 + 2
	buf := make([]byte, head+int(n)+2)
	data := buf[head : head+int(n)]
	if _, err := io.ReadFull(c.in, buf[head:]); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) { //nolint:errorlint // readers return it bare
			err = errChunk
		}
		c.err = err
		return
	}
	if !bytes.HasSuffix(buf, []byte("\r\n")) {
		c.err = errChunk
		return
	}
	c.last = c.signer.chunk(c.last, data)
	copy(buf, size+";chunk-signature="+c.last+"\r\n")
	c.out, c.ended = buf, n == 0
}

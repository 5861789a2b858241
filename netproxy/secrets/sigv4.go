package secrets

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// AWS Signature Version 4, as the AWS General Reference has it ("Create a signed AWS
// API request") and for chunks the Amazon S3 API Reference ("Signature calculations
// for the Authorization header: transferring payload in multiple chunks").

const (
	awsAlgorithm = "AWS4-HMAC-SHA256"
	awsTime      = "20060102T150405Z"
	emptyHash    = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// awsSigner signs one request, and its chunks.
type awsSigner struct {
	key   []byte // derived from the secret key for the scope
	time  string // in the form of awsTime
	scope string // date/region/service/aws4_request
}

func newAWSSigner(secretKey, time, region, service string) *awsSigner {
	date := time[:8]
	key := sum([]byte("AWS4"+secretKey), date)
	for _, s := range []string{region, service, "aws4_request"} {
		key = sum(key, s)
	}
	return &awsSigner{key, time, date + "/" + region + "/" + service + "/aws4_request"}
}

func sum(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hashOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// request returns the signature of a canonical request.
func (a *awsSigner) request(canonical string) string {
	return hex.EncodeToString(sum(a.key, strings.Join([]string{awsAlgorithm, a.time, a.scope, hashOf([]byte(canonical))}, "\n")))
}

// chunk returns the signature of a chunk after the one before, which for the first is
// the request's.
func (a *awsSigner) chunk(before string, data []byte) string {
	return hex.EncodeToString(sum(a.key, strings.Join([]string{awsAlgorithm + "-PAYLOAD", a.time, a.scope, before, emptyHash, hashOf(data)}, "\n")))
}

// canonicalRequest writes a request in the one way that is signed. uri is the path as
// it is sent; signed are names in lower case and in order; header has each of them.
func canonicalRequest(method, uri, query string, signed []string, header func(name string) []string, payload string, s3 bool) string {
	var b strings.Builder
	b.WriteString(method + "\n" + canonicalPath(uri, s3) + "\n" + canonicalQuery(query) + "\n")
	for _, name := range signed {
		values := slices.Clone(header(name))
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}

// canonicalPath encodes a path that is encoded already: S3 takes it as it is, the
// others encode it again, without what dots and doubled slashes stand for.
func canonicalPath(uri string, s3 bool) string {
	if uri == "" {
		uri = "/"
	}
	if s3 {
		return awsEscape(string(unescape(uri)), true)
	}
	clean := path.Clean(uri)
	if strings.HasSuffix(uri, "/") && clean != "/" {
		clean += "/"
	}
	return awsEscape(clean, true)
}

func canonicalQuery(query string) string {
	if query == "" {
		return ""
	}
	var parts [][2]string
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(strings.ReplaceAll(part, "+", " "), "=")
		parts = append(parts, [2]string{awsEscape(string(unescape(name)), false), awsEscape(string(unescape(value)), false)})
	}
	slices.SortFunc(parts, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p[0] + "=" + p[1]
	}
	return strings.Join(out, "&")
}

// awsEscape encodes all but the unreserved characters of RFC 3986.
func awsEscape(s string, slashes bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if alnum(c) || strings.IndexByte("-._~", c) >= 0 || slashes && c == '/' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// wirePath returns the path of a request as it is sent.
func wirePath(u *url.URL) string {
	if u.Opaque == "" {
		return u.EscapedPath()
	}
	if rest, ok := strings.CutPrefix(u.Opaque, "//"); ok {
		_, p, _ := strings.Cut(rest, "/")
		return "/" + p
	}
	return u.Opaque
}

// awsCredential is what a tool has put into Authorization.
type awsCredential struct {
	key, date, region, service string
	signed                     []string
}

// parseAWS reads a header of AWS4-HMAC-SHA256.
func parseAWS(v string) (c awsCredential, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(v), awsAlgorithm+" ")
	if !ok {
		return c, false
	}
	seen := 0
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			f := strings.Split(value, "/")
			if len(f) != 5 || f[4] != "aws4_request" || len(f[1]) != 8 {
				return c, false
			}
			c.key, c.date, c.region, c.service = f[0], f[1], f[2], f[3]
			seen |= 1
		case "SignedHeaders":
			c.signed = strings.Split(strings.ToLower(value), ";")
			seen |= 2
		case "Signature":
			seen |= 4
		default:
			return c, false
		}
	}
	for _, name := range c.signed {
		if !isToken(name) {
			return c, false
		}
	}
	return c, seen == 7 && len(c.signed) <= 100
}

// signable returns the value of a header as it will be sent; nil for what is not
// there, or is not sent as it is.
func signable(r *http.Request, name string) []string {
	switch name {
	case "host":
		if r.Host != "" {
			return []string{r.Host}
		}
		return []string{r.URL.Host}
	case "authorization", "connection", "transfer-encoding", "te", "trailer", "upgrade", "expect", "keep-alive", "content-length", "user-agent", "proxy-connection":
		return nil
	}
	return r.Header[http.CanonicalHeaderKey(name)]
}

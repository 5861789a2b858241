package secrets

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock/penstock/hooks"
)

// TestSigV4Vectors: AWS's test suite for Signature Version 4, and the examples of the
// Amazon S3 API Reference.
func TestSigV4Vectors(t *testing.T) {
	suite := newAWSSigner("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830T123600Z", "us-east-1", "service")
	s3 := newAWSSigner("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524T000000Z", "us-east-1", "s3")
	form := map[string][]string{"content-type": {"application/x-www-form-urlencoded"}}
	for _, tt := range []struct {
		name, method, uri, query string
		header                   map[string][]string
		payload                  string
		want                     string
	}{
		{"get-vanilla", "GET", "/", "", nil, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "GET", "/", "Param2=value2&Param1=value1", nil, "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-empty-query-key", "GET", "/", "Param1=value1", nil, "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"get-vanilla-utf8-query", "GET", "/", "%E1%88%B4=bar", nil, "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"get-utf8", "GET", "/ሴ", "", nil, "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		{"get-header-key-duplicate", "GET", "/", "", map[string][]string{"my-header1": {"value2", "value2", "value1"}}, "", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"get-header-value-trim", "GET", "/", "", map[string][]string{"my-header1": {" value1"}, "my-header2": {` "a   b   c"`}}, "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"get-relative", "GET", "/example/..", "", nil, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-slashes", "GET", "//example//", "", nil, "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{"get-space", "GET", "/example space/", "", nil, "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
		{"post-vanilla", "POST", "/", "", nil, "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"post-x-www-form-urlencoded", "POST", "/", "", form, "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
		{"s3 get object", "GET", "/test.txt", "", map[string][]string{"range": {"bytes=0-9"}}, "", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"s3 put object", "PUT", "/test%24file.text", "", map[string][]string{"date": {"Fri, 24 May 2013 00:00:00 GMT"}, "x-amz-storage-class": {"REDUCED_REDUNDANCY"}}, "Welcome to Amazon S3.",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"s3 get bucket lifecycle", "GET", "/", "lifecycle", nil, "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"s3 list objects", "GET", "/", "max-keys=2&prefix=J", nil, "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		signer, isS3 := suite, strings.HasPrefix(tt.name, "s3")
		h := map[string][]string{"host": {"example.amazonaws.com"}, "x-amz-date": {"20150830T123600Z"}}
		if isS3 {
			signer = s3
			h = map[string][]string{"host": {"examplebucket.s3.amazonaws.com"}, "x-amz-date": {"20130524T000000Z"}, "x-amz-content-sha256": {hashOf([]byte(tt.payload))}}
		}
		var names []string
		for name, v := range tt.header {
			h[name] = v
		}
		for name := range h {
			names = append(names, name)
		}
		slices.Sort(names)
		canonical := canonicalRequest(tt.method, tt.uri, tt.query, names, func(n string) []string { return h[n] }, hashOf([]byte(tt.payload)), isS3)
		if got := signer.request(canonical); got != tt.want {
			t.Errorf("%s: %s, want %s\n%s", tt.name, got, tt.want, canonical)
		}
	}
	// S3's example of chunks.
	signer, last := s3, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	for _, tt := range []struct {
		n    int
		want string
	}{
		{65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"},
		{1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"},
		{0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"},
	} {
		if last = signer.chunk(last, bytes.Repeat([]byte("a"), tt.n)); last != tt.want {
			t.Errorf("chunk of %d: %s", tt.n, last)
		}
	}
}

var awsNow = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func awsSet(t testing.TB, parts ...string) *Set {
	t.Helper()
	c := Secret{Name: "AWS", Hosts: []string{"*.amazonaws.com"}, Header: "Authorization", Value: NewValue("AKIAIOSFODNN7EXAMPLE"),
		AWS: &AWS{[]string{"s3", "sts"}, []string{"us-east-1"}}, Parts: map[string]Value{"secret_key": NewValue("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")}}
	for _, p := range parts {
		c.Parts["session_token"] = NewValue(p)
	}
	s, err := New([]Secret{c, {Name: "OTHER", Hosts: []string{"*.amazonaws.com"}, Header: "X-Other", Value: NewValue("other-0123456789")}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signedBy is a request as a tool has signed it.
func signedBy(s *Set, service, region, signed string, header http.Header, body string) *http.Request {
	u, _ := url.Parse("https://examplebucket.s3.amazonaws.com/test.txt")
	h := http.Header{"Authorization": {fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/20130523/%s/%s/aws4_request, SignedHeaders=%s, Signature=%064d", s.secrets[0].Placeholder, region, service, signed, 0)}}
	for k, v := range header {
		h[k] = v
	}
	r := &http.Request{Method: "GET", URL: u, Header: h, Host: u.Host, Body: http.NoBody}
	if body != "" {
		r.Body, r.Method, r.ContentLength = io.NopCloser(strings.NewReader(body)), "PUT", int64(len(body))
	}
	return r
}

func s3Target() hooks.Target { return hooks.Target{Host: "examplebucket.s3.amazonaws.com", Port: 443} }

func TestSign(t *testing.T) {
	s := awsSet(t)
	if env := s.Environ(); len(env) != 3 || !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "AWS_ACCESS_KEY_ID=PENSTOCKph") }) ||
		!slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "AWS_SECRET_ACCESS_KEY=PENSTOCKph") }) {
		t.Errorf("environment %q", env)
	}
	// The tool's date, token and wrong headers don't matter.
	r := signedBy(s, "s3", "us-east-1", "connection;host;range;x-amz-content-sha256;x-amz-date;x-amz-security-token", http.Header{
		"Range": {"bytes=0-9"}, "X-Amz-Content-Sha256": {emptyHash}, "X-Amz-Date": {"20130523T230000Z"}, "X-Amz-Security-Token": {"theirs"}, "Connection": {"close"}}, "")
	if err := s.Scan(r.Method, r.URL.RequestURI(), r.Header, s3Target()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(r.Header, s3Target(), true); err != nil {
		t.Fatal(err)
	}
	used, err := s.Sign(r, s3Target(), true, awsNow)
	if err != nil || len(used) != 1 || used[0].Secret != "AWS" {
		t.Fatal(used, err)
	}
	want := "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
		"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	if got := r.Header.Get("Authorization"); got != want || r.Header.Get("X-Amz-Date") != "20130524T000000Z" || r.Header["X-Amz-Security-Token"] != nil {
		t.Errorf("got %s\n%v", got, r.Header)
	}
	// Answers may name the id of the key, and not the secret one.
	if _, err := s.Response(http.Header{"X": {"AKIAIOSFODNN7EXAMPLE"}}, http.NoBody, used); err != nil {
		t.Error(err)
	}
	if _, err := s.Response(http.Header{"X": {"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}}, http.NoBody, used); !errors.As(err, new(*Reflection)) {
		t.Error(err)
	}

	// A session token of ours goes with it, and not back.
	s = awsSet(t, "session-token-0123456789")
	r = signedBy(s, "sts", "us-east-1", "host;x-amz-date", http.Header{"X-Amz-Date": {"20130523T230000Z"}}, "Action=GetCallerIdentity")
	if used, err = s.Sign(r, s3Target(), true, awsNow); err != nil || !strings.Contains(r.Header.Get("Authorization"), "SignedHeaders=host;x-amz-date;x-amz-security-token,") || r.Header.Get("X-Amz-Security-Token") != "session-token-0123456789" {
		t.Errorf("%v, %v", err, r.Header)
	}
	if b, _ := io.ReadAll(r.Body); string(b) != "Action=GetCallerIdentity" {
		t.Errorf("the body is %q", b)
	}
	if _, err := s.Response(http.Header{"X": {"session-token-0123456789"}}, http.NoBody, used); !errors.As(err, new(*Reflection)) {
		t.Error(err)
	}
	// What is not signed with them is left alone.
	r = signedBy(s, "s3", "us-east-1", "host", http.Header{"Authorization": {"Bearer x"}}, "")
	if used, err := s.Sign(r, s3Target(), true, awsNow); len(used) != 0 || err != nil || r.Header.Get("Authorization") != "Bearer x" {
		t.Error(used, err, r.Header)
	}
}

// TestSignRefuses: a tool tries to have more signed than is declared, or to get at the
// keys.
func TestSignRefuses(t *testing.T) {
	s := awsSet(t)
	ph := s.secrets[0].Placeholder
	for name, tt := range map[string]struct {
		service, region string
		header          http.Header
		body, want      string
	}{
		"service":  {"iam", "us-east-1", nil, "", "it is declared for service s3, sts, and this is for iam"},
		"region":   {"s3", "eu-west-1", nil, "", "it is declared for region us-east-1, and this is for eu-west-1"},
		"odd":      {"s3\x1b[2J", "us-east-1", nil, "", "and this is for another"},
		"twice":    {"", "", http.Header{"Authorization": {"Bearer x", "AWS4-HMAC-SHA256 Credential=" + ph}}, "", "it must be the access key"},
		"bearer":   {"", "", http.Header{"Authorization": {"Bearer " + ph}}, "", "it must be the access key"},
		"basic":    {"", "", http.Header{"Authorization": {ph}}, "", "it must be the access key"},
		"sigv4a":   {"", "", http.Header{"Authorization": {"AWS4-ECDSA-P256-SHA256 Credential=" + ph + "/20130524/s3/aws4_request, SignedHeaders=host, Signature=00"}}, "", "it must be the access key"},
		"part":     {"", "", http.Header{"Authorization": {"AWS4-HMAC-SHA256 Credential=x" + ph + "/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"}}, "", "it must be the access key"},
		"trailer":  {"s3", "us-east-1", http.Header{"X-Amz-Content-Sha256": {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}}, "x", "can't be signed anew"},
		"sigv4a 2": {"s3", "us-east-1", http.Header{"X-Amz-Content-Sha256": {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"}}, "x", "can't be signed anew"},
		"hashes":   {"s3", "us-east-1", http.Header{"X-Amz-Content-Sha256": {emptyHash, emptyHash}}, "x", "more than once"},
		"no hash":  {"sts", "us-east-1", nil, strings.Repeat("x", maxHashed+1), "it is needed for a body of more than 16 MiB"},
	} {
		r := signedBy(s, tt.service, tt.region, "host;x-amz-date", tt.header, tt.body)
		_, err := s.Sign(r, s3Target(), true, awsNow)
		var v *Violation
		if !errors.As(err, &v) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	good := func() *http.Request { return signedBy(s, "s3", "us-east-1", "host", nil, "") }
	if _, err := s.Sign(good(), hooks.Target{Host: "evil.example", Port: 443}, true, awsNow); err == nil {
		t.Error("signed for another host")
	}
	if _, err := s.Sign(good(), s3Target(), false, awsNow); err == nil {
		t.Error("signed in clear text")
	}
	// Presigned, and in any other place.
	for _, uri := range []string{"/?X-Amz-Credential=" + ph + "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=00", "/" + ph} {
		if s.Scan("GET", uri, http.Header{}, s3Target()) == nil {
			t.Errorf("%s may leave", uri)
		}
	}
	if s.Scan("GET", "/", http.Header{"X-Amz-Security-Token": {ph}}, s3Target()) == nil {
		t.Error("the secret key's placeholder may leave")
	}
	// Keys that are gone.
	if err := s.Replace("AWS.secret_key", Value{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(good(), s3Target(), true, awsNow); !errors.As(err, new(*NoValueError)) {
		t.Error(err)
	}
}

// chunked writes a body of aws-chunked as a tool would.
func chunked(sizes ...int) string {
	var b strings.Builder
	for _, n := range append(sizes, 0) {
		fmt.Fprintf(&b, "%x;chunk-signature=%064d\r\n%s\r\n", n, 7, strings.Repeat("a", n))
	}
	return b.String()
}

func TestSignChunks(t *testing.T) {
	s := awsSet(t)
	u, _ := url.Parse("https://s3.amazonaws.com/examplebucket/chunkObject.txt")
	in := chunked(65536, 1024)
	r := signedBy(s, "s3", "us-east-1", "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class", http.Header{
		"X-Amz-Content-Sha256": {awsAlgorithmStreaming}, "Content-Encoding": {"aws-chunked"}, "X-Amz-Decoded-Content-Length": {"66560"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"}}, in)
	r.URL, r.Host = u, u.Host
	if _, err := s.Sign(r, hooks.Target{Host: "x.amazonaws.com", Port: 443}, true, awsNow); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r.Body)
	if err != nil || len(out) != len(in) || r.ContentLength != int64(len(in)) {
		t.Fatal(len(out), err)
	}
	_, seed, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	signer := newAWSSigner("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524T000000Z", "us-east-1", "s3")
	for _, n := range []int{65536, 1024, 0} {
		seed = signer.chunk(seed, bytes.Repeat([]byte("a"), n))
		if !bytes.Contains(out, fmt.Appendf(nil, "%x;chunk-signature=%s\r\n", n, seed)) {
			t.Errorf("the chunk of %d bytes is not signed after the one before", n)
		}
	}
}

func chunksOf(s string) ([]byte, error) {
	return io.ReadAll(&chunkSigner{in: bufio.NewReader(strings.NewReader(s)), signer: newAWSSigner("k", "20130524T000000Z", "r", "s"), last: emptyHash})
}

func TestBadChunks(t *testing.T) {
	for name, in := range map[string]string{
		"none": "", "not chunks": "hello\r\n", "no signature": "5\r\nhello\r\n", "short": chunked(5)[:100], "no end": strings.TrimSuffix(chunked(5), chunked()),
		"too long": fmt.Sprintf("%x;chunk-signature=%064d\r\n", maxChunk+1, 0), "huge": fmt.Sprintf("ffffffffffffffff;chunk-signature=%064d\r\n", 0), "more": chunked(5) + "x",
		"minus": strings.Replace(chunked(5), "5;", "-5;", 1), "line feeds": strings.ReplaceAll(chunked(5), "\r\n", "\n"), "long line": strings.Repeat("5", 1<<20),
		"extension": strings.Replace(chunked(5), "\r\n", ";x=y\r\n", 1),
	} {
		if out, err := chunksOf(in); err == nil {
			t.Errorf("%s: passed on as %q", name, out)
		}
	}
}

// FuzzChunks: what passes has the length that it had, and every byte of data.
func FuzzChunks(f *testing.F) {
	f.Add(chunked(5))
	f.Add(chunked())
	f.Add(chunked(1, 2) + "x")
	f.Fuzz(func(t *testing.T, in string) {
		out, err := chunksOf(in)
		if err != nil {
			return
		}
		again, err := chunksOf(string(out))
		if len(out) != len(in) || err != nil || !bytes.Equal(again, out) {
			t.Errorf("%q became %q, then %q, %v", in, out, again, err)
		}
	})
}

// FuzzAWSCredential: what is taken for a signature names the key that it has.
func FuzzAWSCredential(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add("AWS4-HMAC-SHA256 Credential=/////,SignedHeaders=,Signature=")
	f.Fuzz(func(t *testing.T, v string) {
		c, ok := parseAWS(v)
		if ok && (!strings.Contains(v, c.key+"/"+c.date+"/"+c.region+"/"+c.service+"/aws4_request") || strings.ContainsAny(strings.Join(c.signed, ""), " ,;:\r\n")) {
			t.Errorf("%q is %+v", v, c)
		}
	})
}

package netproxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock/penstock/audit"
)

// recorder is an origin that keeps every byte of each connection and answers
// what is a whole request to a strict reader.
type recorder struct {
	early bool // answers before it has read the body

	l     net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	bytes [][]byte
	whole int // requests that ended
}

// record places a recorder at target, in TLS with HTTP/1.1 only unless its port is 80.
func (pn *pen) record(target string) *recorder {
	pn.t.Helper()
	rec := &recorder{}
	l := listen(pn.t)
	if name, port, _ := strings.Cut(target, ":"); port != "80" {
		leaf, err := pn.upstreamCA.Leaf(name)
		if err != nil {
			pn.t.Fatal(err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*leaf}, NextProtos: []string{"http/1.1"}})
	}
	rec.l = l
	pn.place(target, l.Addr().String())
	rec.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			rec.wg.Go(func() { rec.serve(c) })
		}
	})
	pn.t.Cleanup(func() { rec.ended(pn) })
	return rec
}

func (rec *recorder) serve(c net.Conn) {
	defer c.Close()
	var all bytes.Buffer
	defer func() {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if all.Len() > 0 { // the transport may dial ahead
			rec.bytes = append(rec.bytes, all.Bytes())
		}
	}()
	r := bufio.NewReader(io.TeeReader(c, &all))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if rec.early {
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			io.Copy(io.Discard, r)
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		rec.mu.Lock()
		rec.whole++
		rec.mu.Unlock()
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		if req.Method == http.MethodHead {
			answer = answer[:len(answer)-2]
		}
		io.WriteString(c, answer)
	}
}

// ended closes the proxy and returns what arrived on all connections until their
// ends, and how many requests in it were whole.
func (rec *recorder) ended(pn *pen) (string, int) {
	pn.p.Close()
	rec.l.Close()
	rec.wg.Wait()
	return string(bytes.Join(rec.bytes, nil)), rec.whole
}

// What an origin reads is what was judged: each known way to hide a request from
// one of two readers is refused before anything is dialled, or leaves in the one
// form that has one reading. A case of which nothing may leave has no arrives.
func TestSmuggling(t *testing.T) {
	const (
		post  = "POST / HTTP/1.1\r\nHost: web.test\r\n"
		get   = "GET / HTTP/1.1\r\nHost: web.test\r\n"
		end   = "Connection: close\r\n\r\n"
		last  = get + end
		evil  = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"
		chunk = "5\r\nhello\r\n0\r\n\r\n"
		// As it leaves: the fields sorted, one framing.
		sized   = "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhello"
		chunked = "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
		plain   = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
	)
	for name, c := range map[string]struct {
		in      string
		want    []int
		arrives string
		cut     bool // the request breaks off: it may have begun, and must not end
	}{
		// Two lengths (RFC 9112 section 6.1, 6.3).
		"CL.TE":                   {post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n" + end + "0\r\n\r\nG", []int{400}, "", false},
		"TE.CL":                   {post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n" + end + "5c\r\n" + evil + "0\r\n\r\n", []int{400}, "", false},
		"CL 0 and TE":             {post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE identity and CL":      {post + "Transfer-Encoding: identity\r\nContent-Length: 5\r\n" + end + "hello", []int{501}, "", false},
		"CL twice, same":          {post + "Content-Length: 5\r\nContent-Length: 5\r\n" + end + "hello", []int{400}, "", false},
		"CL twice, other":         {post + "Content-Length: 5\r\nContent-Length: 0\r\n" + end + evil, []int{400}, "", false},
		"CL list":                 {post + "Content-Length: 5, 5\r\n" + end + "hello", []int{400}, "", false},
		"CL plus":                 {post + "Content-Length: +5\r\n" + end + "hello", []int{400}, "", false},
		"CL minus":                {post + "Content-Length: -5\r\n" + end + "hello", []int{400}, "", false},
		"CL minus zero":           {post + "Content-Length: -0\r\n" + end, []int{400}, "", false},
		"CL hex":                  {post + "Content-Length: 0x5\r\n" + end + "hello", []int{400}, "", false},
		"CL underscore":           {post + "Content-Length: 1_0\r\n" + end + "hellohello", []int{400}, "", false},
		"CL float":                {post + "Content-Length: 5.0\r\n" + end + "hello", []int{400}, "", false},
		"CL exponent":             {post + "Content-Length: 5e0\r\n" + end + "hello", []int{400}, "", false},
		"CL empty":                {post + "Content-Length:\r\n" + end + "hello", []int{400}, "", false},
		"CL quoted":               {post + "Content-Length: \"5\"\r\n" + end + "hello", []int{400}, "", false},
		"CL 2^63":                 {post + "Content-Length: 9223372036854775808\r\n" + end + "hello", []int{400}, "", false},
		"CL 2^64+5":               {post + "Content-Length: 18446744073709551621\r\n" + end + "hello", []int{400}, "", false},
		"CL inner space":          {post + "Content-Length: 1 0\r\n" + end + "hello", []int{400}, "", false},
		"CL vertical tab":         {post + "Content-Length: \v5\r\n" + end + "hello", []int{400}, "", false},
		"CL no-break space":       {post + "Content-Length: \xa05\r\n" + end + "hello", []int{400}, "", false},
		"CL Arabic digit":         {post + "Content-Length: \u0665\r\n" + end + "hello", []int{400}, "", false},
		"CL tab around":           {post + "Content-Length:\t5\t\r\n" + end + "hello", []int{200}, sized, false},
		"CL leading zeros":        {post + "Content-Length: 0005\r\n" + end + "hello", []int{200}, sized, false},
		"CL nominated":            {post + "Content-Length: 5\r\nConnection: close, Content-Length\r\n\r\nhello", []int{400}, "", false},
		"CL by another name":      {post + "Content_Length: 50\r\nContent-Length: 5\r\n" + end + "hello", []int{400}, "", false},
		"GET with a length":       {get + "Content-Length: 5\r\n" + end + "hello", []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhello", false},
		"no length":               {post + end + evil, []int{200}, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0\r\n\r\n", false},
		"rest after the length":   {post + "Content-Length: 5\r\n\r\nhello" + last, []int{200, 200}, sized + plain, false},
		"rest is no request":      {post + "Content-Length: 5\r\n\r\nhelloGPOST / HTTP/1.1\r\n\r\n", []int{200, 400}, sized, false},
		"end before the length":   {post + "Content-Length: 50\r\n" + end + "hello", nil, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 50\r\n\r\nhello", true},
		"HEAD with a length":      {"HEAD / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n" + end + "hello", []int{200}, "HEAD / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhello", false},
		"DELETE with chunks":      {"DELETE / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n" + end + chunk, []int{200}, "DELETE / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, false},
		"method override, header": {post + "X-HTTP-Method-Override: DELETE\r\nContent-Length: 5\r\n" + end + "hello", []int{200}, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nX-Http-Method-Override: DELETE\r\n\r\nhello", false},

		// Transfer-Encoding that only one of two readers takes for chunked.
		"TE capitals":          {post + "TRANSFER-ENCODING: CHUNKED\r\n" + end + chunk, []int{200}, chunked, false},
		"TE tab":               {post + "Transfer-Encoding:\tchunked\t\r\n" + end + chunk, []int{200}, chunked, false},
		"TE no space":          {post + "Transfer-Encoding:chunked\r\n" + end + chunk, []int{200}, chunked, false},
		"TE vertical tab":      {post + "Transfer-Encoding: \vchunked\r\n" + end + chunk, []int{400}, "", false},
		"TE form feed":         {post + "Transfer-Encoding: chunked\f\r\n" + end + chunk, []int{400}, "", false},
		"TE NUL":               {post + "Transfer-Encoding: chunked\x00\r\n" + end + chunk, []int{400}, "", false},
		"TE no-break space":    {post + "Transfer-Encoding: \xa0chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE next line":         {post + "Transfer-Encoding: \x85chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE comma":             {post + "Transfer-Encoding: chunked,\r\n" + end + chunk, []int{501}, "", false},
		"TE leading comma":     {post + "Transfer-Encoding: ,chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE semicolon":         {post + "Transfer-Encoding: chunked;q=1\r\n" + end + chunk, []int{501}, "", false},
		"TE quoted":            {post + "Transfer-Encoding: \"chunked\"\r\n" + end + chunk, []int{501}, "", false},
		"TE prefixed":          {post + "Transfer-Encoding: xchunked\r\n" + end + chunk, []int{501}, "", false},
		"TE identity":          {post + "Transfer-Encoding: identity\r\n" + end + chunk, []int{501}, "", false},
		"TE gzip":              {post + "Transfer-Encoding: gzip, chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE chunked, identity": {post + "Transfer-Encoding: chunked, identity\r\n" + end + chunk, []int{501}, "", false},
		"TE twice":             {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE twice, other":      {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n" + end + chunk, []int{501}, "", false},
		"TE other, then":       {post + "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE empty":             {post + "Transfer-Encoding:\r\n" + end + chunk, []int{501}, "", false},
		"TE folded":            {post + "Transfer-Encoding:\r\n chunked\r\n" + end + chunk, []int{501}, "", false},
		"TE after a fold":      {post + "X: y\r\n Transfer-Encoding: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE after bare LF":     {post + "X: y\nTransfer-Encoding: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE after bare CR":     {post + "X: y\rTransfer-Encoding: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE space before":      {post + " Transfer-Encoding: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE space, colon":      {post + "Transfer-Encoding : chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE tab, colon":        {post + "Transfer-Encoding\t: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE in the name":       {post + "X: y\r\nTransfer-Encoding\x00: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE long s":            {post + "Tran\u017ffer-Encoding: chunked\r\n" + end + chunk, []int{400}, "", false},
		"TE by another name":   {post + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n" + end + "hello", []int{400}, "", false},
		"TE nominated":         {post + "Transfer-Encoding: chunked\r\nConnection: close, transfer-encoding\r\n\r\n" + chunk, []int{400}, "", false},
		"TE in 1.0":            {"POST / HTTP/1.0\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n" + chunk + evil, []int{400}, "", false},
		"keep-alive in 1.0":    {"GET / HTTP/1.0\r\nHost: web.test\r\nConnection: keep-alive\r\n\r\n" + last, []int{200, 200}, plain + plain, false},
		"TE of a GET":          {get + "Transfer-Encoding: chunked\r\n" + end + chunk, []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, false},

		// Chunks (RFC 9112 section 7.1).
		"chunk extension":        {post + "Transfer-Encoding: chunked\r\n" + end + "5;a=b\r\nhello\r\n0;c\r\n\r\n", []int{200}, chunked, false},
		"chunk extension quoted": {post + "Transfer-Encoding: chunked\r\n" + end + "5;a=\"\\\"b\"\r\nhello\r\n0\r\n\r\n", []int{200}, chunked, false},
		"chunk leading zeros":    {post + "Transfer-Encoding: chunked\r\n" + end + "0005\r\nhello\r\n000\r\n\r\n", []int{200}, chunked, false},
		"chunk extension LF":     {post + "Transfer-Encoding: chunked\r\n" + end + "5;\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk extension CR":     {post + "Transfer-Encoding: chunked\r\n" + end + "5;\rx\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk size LF":          {post + "Transfer-Encoding: chunked\r\n" + end + "5\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk data LF":          {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\n0\r\n\r\n", nil, chunked, true},
		"chunk end LF":           {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\n\n", nil, chunked, true},
		"chunk end LF, trailer":  {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\n\n", nil, chunked, true},
		"chunk too short":        {post + "Transfer-Encoding: chunked\r\n" + end + "3\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk too long":         {post + "Transfer-Encoding: chunked\r\n" + end + "6\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk plus":             {post + "Transfer-Encoding: chunked\r\n" + end + "+5\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk minus":            {post + "Transfer-Encoding: chunked\r\n" + end + "-5\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk 0x":               {post + "Transfer-Encoding: chunked\r\n" + end + "0x5\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk 2^64+5":           {post + "Transfer-Encoding: chunked\r\n" + end + "10000000000000005\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk many zeros":       {post + "Transfer-Encoding: chunked\r\n" + end + strings.Repeat("0", 20) + "5\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk space before":     {post + "Transfer-Encoding: chunked\r\n" + end + " 5\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk space after":      {post + "Transfer-Encoding: chunked\r\n" + end + "5 \r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk comma":            {post + "Transfer-Encoding: chunked\r\n" + end + "5,5\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"chunk empty size":       {post + "Transfer-Encoding: chunked\r\n" + end + ";a\r\nhello\r\n0\r\n\r\n", nil, chunked, true},
		"no last chunk":          {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n", nil, chunked, true},
		"trailer":                {post + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n" + end + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", []int{200}, "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", false},
		"trailer not announced":  {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", []int{200}, chunked, false},
		"trailer length":         {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n", nil, chunked, true},
		"trailer TE":             {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n", nil, chunked, true},
		"trailer Host":           {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nHost: evil.test\r\n\r\n", nil, chunked, true},
		"trailer announces CL":   {post + "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n" + end + chunk, []int{400}, "", false},
		"trailer folded":         {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", nil, chunked, true},
		"trailer LF":             {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nX: y\n\r\n", nil, chunked, true},
		"trailer no name":        {post + "Transfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n", nil, chunked, true},
		"rest after the chunks":  {post + "Transfer-Encoding: chunked\r\n\r\n" + chunk + last, []int{200, 200}, chunked + plain, false},

		// Lines and fields (RFC 9112 sections 2.2, 5).
		"bare LF":             {"GET / HTTP/1.1\nHost: web.test\nConnection: close\n\n", []int{400}, "", false},
		"LF LF in a value":    {get + "X: y\n\n" + evil, []int{400}, "", false},
		"bare CR":             {get + "X: a\rb\r\n" + end, []int{400}, "", false},
		"CR CR LF":            {get + "X: a\r\r\n" + end, []int{400}, "", false},
		"obs-fold":            {get + "X: a\r\n b\r\n" + end, []int{400}, "", false},
		"obs-fold, tab":       {get + "X: a\r\n\tb\r\n" + end, []int{400}, "", false},
		"fold hides Host":     {"GET / HTTP/1.1\r\nX: a\r\n Host: evil.test\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"NUL in a value":      {get + "X: a\x00b\r\n" + end, []int{400}, "", false},
		"NUL in a name":       {get + "X\x00: b\r\n" + end, []int{400}, "", false},
		"DEL in a value":      {get + "X: a\x7fb\r\n" + end, []int{400}, "", false},
		"space in a name":     {get + "X Y: b\r\n" + end, []int{400}, "", false},
		"space, colon":        {get + "X : b\r\n" + end, []int{400}, "", false},
		"no colon":            {get + "X\r\n" + end, []int{400}, "", false},
		"empty name":          {get + ": b\r\n" + end, []int{400}, "", false},
		"name with brackets":  {get + "X(a): b\r\n" + end, []int{400}, "", false},
		"name with slash":     {get + "X/a: b\r\n" + end, []int{400}, "", false},
		"name with UTF-8":     {get + "X-\u00e9: b\r\n" + end, []int{400}, "", false},
		"name with quote":     {get + "X\": b\r\n" + end, []int{400}, "", false},
		"value with UTF-8":    {get + "X: \u00e9\r\n" + end, []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nX: \u00e9\r\n\r\n", false},
		"space round a value": {get + "X: \t b \t\r\n" + end, []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nX: b\r\n\r\n", false},
		"empty line before":   {"\r\n" + last, []int{200}, plain, false},

		// Request line (RFC 9112 section 3).
		"HTTP/0.9":             {"GET /\r\n\r\n", []int{400}, "", false},
		"HTTP/2.0":             {"GET / HTTP/2.0\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"HTTP/1.2":             {"GET / HTTP/1.2\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"HTTP/01.1":            {"GET / HTTP/01.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"http/1.1":             {"GET / http/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"two spaces":           {"GET  / HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"space after":          {"GET / HTTP/1.1 \r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"tab between":          {"GET /\tHTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"space in the target":  {"GET /a HTTP/1.1\x20HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"two request lines":    {"GET /a HTTP/1.1\r\nGET /b HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"backslash":            {"GET \\\\evil.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"target with UTF-8":    {"GET /\u00e9 HTTP/1.1\r\nHost: web.test\r\n" + end, []int{200}, "GET /%C3%A9 HTTP/1.1\r\nHost: web.test\r\n\r\n", false},
		"double slash":         {"GET //evil.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{200}, "GET //evil.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n", false},
		"CRLF escaped":         {"GET /%0d%0aX:%20y HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"CRLF escaped, query":  {"GET /?%0d%0aX:%20y HTTP/1.1\r\nHost: web.test\r\n" + end, []int{200}, "GET /?%0d%0aX:%20y HTTP/1.1\r\nHost: web.test\r\n\r\n", false},
		"preface":              {"PRI * HTTP/2.0\r\nHost: web.test\r\n\r\nSM\r\n\r\n", []int{400}, "", false},
		"lower-case method":    {"get / HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"method and colon":     {"GET: / HTTP/1.1\r\nHost: web.test\r\n" + end, nil, "", false},
		"bytes before GET":     {"\x00GET / HTTP/1.1\r\nHost: web.test\r\n" + end, nil, "", false},
		"absolute, Host":       {"GET http://evil.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{421}, "", false},
		"absolute, other case": {"GET HTTP://WEB.test/a HTTP/1.1\r\nHost: web.test\r\n" + end, []int{200}, "GET /a HTTP/1.1\r\nHost: WEB.test\r\n\r\n", false},
		"absolute, no Host":    {"GET http://web.test/ HTTP/1.1\r\n" + end, []int{400}, "", false},
		"absolute, userinfo":   {"GET http://web.test@evil.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"absolute, backslash":  {"GET http://web.test\\@evil.test/ HTTP/1.1\r\nHost: web.test\r\n" + end, []int{400}, "", false},
		"Host twice, same":     {get + "Host: web.test\r\n" + end, []int{400}, "", false},
		"Host twice, other":    {get + "Host: evil.test\r\n" + end, []int{400}, "", false},
		"Host list":            {"GET / HTTP/1.1\r\nHost: web.test, evil.test\r\n" + end, []int{400}, "", false},
		"Host empty":           {"GET / HTTP/1.1\r\nHost:\r\n" + end, []int{400}, "", false},
		"Host missing":         {"GET / HTTP/1.1\r\n" + end, []int{400}, "", false},
		"Host space":           {"GET / HTTP/1.1\r\nHost: web.test evil.test\r\n" + end, []int{400}, "", false},
		"Host userinfo":        {"GET / HTTP/1.1\r\nHost: web.test@evil.test\r\n" + end, []int{400}, "", false},
		"Host with a path":     {"GET / HTTP/1.1\r\nHost: web.test/x\r\n" + end, []int{400}, "", false},
		"Host, port":           {"GET / HTTP/1.1\r\nHost: web.test:80\r\n" + end, []int{200}, "GET / HTTP/1.1\r\nHost: web.test:80\r\n\r\n", false},
		"Host, wrong port":     {"GET / HTTP/1.1\r\nHost: web.test:8080\r\n" + end, []int{421}, "", false},
		"X-Forwarded-Host":     {get + "X-Forwarded-Host: evil.test\r\n" + end, []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nX-Forwarded-Host: evil.test\r\n\r\n", false},

		// Expect (RFC 9110 section 10.1.1).
		"Expect":                  {post + "Expect: 100-continue\r\nContent-Length: 5\r\n" + end + "hello", []int{100, 200}, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello", false},
		"Expect, capitals":        {post + "Expect: 100-Continue\r\nContent-Length: 5\r\n" + end + "hello", []int{100, 200}, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello", false},
		"Expect without a body":   {get + "Expect: 100-continue\r\n" + end, []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\n\r\n", false},
		"Expect other":            {post + "Expect: y 100-continue\r\nContent-Length: 5\r\n" + end + "hello", []int{417}, "", false},
		"Expect folded":           {post + "Expect: 100-continue\r\n x\r\nContent-Length: 5\r\n" + end + "hello", []int{400}, "", false},
		"Expect twice":            {post + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n" + end + "hello", []int{417}, "", false},
		"Expect, body is request": {post + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + last, []int{100, 200, 200}, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello" + plain, false},

		// What comes after an error on a connection is never read.
		"after 400":           {get + "X : y\r\n\r\n" + evil, []int{400}, "", false},
		"after 501":           {post + "Transfer-Encoding: x\r\n\r\n" + evil, []int{501}, "", false},
		"after 421":           {"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n" + last, []int{421, 200}, plain, false},
		"before and after":    {plain + get + "X : y\r\n\r\n" + evil, []int{200, 400}, plain, false},
		"after a deny's body": {"POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 5\r\n\r\nhello" + last, []int{421, 200}, plain, false},
		"body of a deny":      {"POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: " + fmt.Sprint(len(evil)) + "\r\n\r\n" + evil + last, []int{421, 200}, plain, false},
		"upgrade is refused":  {get + "Connection: upgrade\r\nUpgrade: x\r\n\r\n" + evil, []int{501}, "", false},
		"websocket, no 101":   {get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + evil, []int{200}, "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false},
		"h2c is ignored":      {get + "Connection: close, upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", []int{200}, plain, false},
		"h2c with a body":     {post + "Connection: close, upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", []int{200}, sized, false},
		"nominated auth":      {get + "Authorization: a\r\nConnection: close, authorization\r\n\r\n", []int{200}, plain, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pn := newPen(t, someRules)
			rec := pn.record("web.test:80")
			conn := pn.dial("web.test:80")
			var got []int
			if c.cut {
				got = broken(t, conn, c.in)
			} else {
				got, _ = say(t, conn, c.in)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) && !(c.cut && len(got) == 1 && got[0] >= 400) {
				t.Errorf("answers %v, want %v", got, c.want)
			}
			arrived, whole := rec.ended(pn)
			switch {
			case c.cut:
				if whole != 0 {
					t.Errorf("a broken request ended:\n%q", arrived)
				}
			case arrived != c.arrives:
				t.Errorf("arrived\n%q, want\n%q", arrived, c.arrives)
			}
			if c.arrives == "" && len(pn.dialed()) != 0 {
				t.Errorf("dialled %v", pn.dialed())
			}
			if c.arrives == "" && pn.records.count(func(e audit.Event) bool { return e != nil }) == 0 {
				t.Error("nothing was recorded")
			}
		})
	}
}

// broken sends bytes that are no whole request, ends its direction and returns
// the statuses that come back.
func broken(t *testing.T, c *net.TCPConn, in string) (statuses []int) {
	t.Helper()
	io.WriteString(c, in)
	c.CloseWrite()
	r := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		io.Copy(io.Discard, resp.Body)
		statuses = append(statuses, resp.StatusCode)
	}
}

// A request of HTTP/2 has no framing to lie about; what leaves for an origin of
// HTTP/1.1 must not get one from its fields.
func TestSmugglingDowngrade(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test"}
	post := []string{":method", "POST", ":scheme", "https", ":path", "/", ":authority", "api.test"}
	const (
		plain = "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"
		sized = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello"
	)
	path := func(p string) []string {
		return []string{":method", "GET", ":scheme", "https", ":path", p, ":authority", "api.test"}
	}
	method := func(m string) []string {
		return []string{":method", m, ":scheme", "https", ":path", "/", ":authority", "api.test"}
	}
	for name, c := range map[string]struct {
		fields  []string
		body    string
		want    string // status, or how the stream or connection ends
		arrives string
	}{
		"plain":                  {get, "", "200", plain},
		"length":                 {append(post, "content-length", "5"), "hello", "200", sized},
		"no length":              {post, "hello", "200", "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"length too short":       {append(post, "content-length", "3"), "hello", "RST_STREAM PROTOCOL_ERROR", ""},
		"length too long":        {append(post, "content-length", "9"), "hello", "502", ""},
		"length twice":           {append(post, "content-length", "5", "content-length", "9"), "hello", "200", sized},
		"length plus":            {append(post, "content-length", "+5"), "hello", "RST_STREAM PROTOCOL_ERROR", ""},
		"length list":            {append(post, "content-length", "5, 5"), "hello", "RST_STREAM PROTOCOL_ERROR", ""},
		"length not a number":    {append(post, "content-length", "x"), "hello", "RST_STREAM PROTOCOL_ERROR", ""},
		"length empty":           {append(post, "content-length", ""), "hello", "RST_STREAM PROTOCOL_ERROR", ""},
		"length without a body":  {append(get, "content-length", "5"), "", "200", plain},
		"length with _":          {append(post, "content_length", "50"), "hello", "400", ""},
		"transfer-encoding":      {append(post, "transfer-encoding", "chunked"), "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", "400", ""},
		"transfer-encoding, CR":  {append(post, "transfer-encoding", "chunked\r"), "hello", "RST_STREAM PROTOCOL_ERROR", ""},
		"transfer_encoding":      {append(post, "transfer_encoding", "chunked"), "hello", "400", ""},
		"CRLF in a value":        {append(get, "x", "a\r\ntransfer-encoding: chunked"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"LF in a value":          {append(get, "x", "a\nb: c"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"CR in a value":          {append(get, "x", "a\rb"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"NUL in a value":         {append(get, "x", "a\x00b"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"CRLF in a name":         {append(get, "x\r\ny", "a"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"colon in a name":        {append(get, "x: y", "a"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"space in a name":        {append(get, "x y", "a"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"empty name":             {append(get, "", "a"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"space before a value":   {append(get, "x", " a "), "", "200", "GET / HTTP/1.1\r\nHost: api.test\r\nX: a\r\n\r\n"},
		"path with a space":      {path("/ HTTP/1.1\r\nHost: evil.test\r\n\r\nGET /"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"path with one space":    {path("/a b"), "", "400", ""},
		"path with a tab":        {path("/a\tb"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"path with CRLF":         {path("/a\r\nx: y"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"path with a fragment":   {path("/a#b"), "", "400", ""},
		"path without a slash":   {path("a"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"path is a URL":          {path("https://evil.test/"), "", "421", ""},
		"path is our URL":        {path("https://api.test/a"), "", "200", "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n"},
		"path with UTF-8":        {path("/\u00e9"), "", "200", "GET /%C3%A9 HTTP/1.1\r\nHost: api.test\r\n\r\n"},
		"query with a space":     {path("/?a b"), "", "400", ""},
		"query with CRLF":        {path("/?a\r\nb"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"method with a space":    {method("GET / HTTP/1.1\r\nx:"), "", "RST_STREAM PROTOCOL_ERROR", ""},
		"method with one space":  {method("GET /x"), "", "400", ""},
		"method with a colon":    {method("GET:"), "", "400", ""},
		"connection":             {append(get, "connection", "keep-alive"), "", "400", ""},
		"keep-alive":             {append(get, "keep-alive", "1"), "", "400", ""},
		"proxy-connection":       {append(get, "proxy-connection", "keep-alive"), "", "400", ""},
		"upgrade":                {append(get, "upgrade", "websocket"), "", "400", ""},
		"te: chunked":            {append(get, "te", "chunked"), "", "400", ""},
		"te: trailers":           {append(get, "te", "trailers"), "", "200", "GET / HTTP/1.1\r\nHost: api.test\r\nTe: trailers\r\n\r\n"},
		"authority, path":        {[]string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test/x"}, "", "400", ""},
		"authority, CRLF":        {[]string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "api.test\r\nx: y"}, "", "RST_STREAM PROTOCOL_ERROR", ""},
		"authority, userinfo":    {[]string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x@api.test"}, "", "RST_STREAM PROTOCOL_ERROR", ""},
		"host differs":           {append(get, "host", "evil.test"), "", "421", ""},
		"scheme":                 {[]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "api.test"}, "", "200", plain},
		"scheme with a URL":      {[]string{":method", "GET", ":scheme", "https://evil.test/?", ":path", "/", ":authority", "api.test"}, "", "RST_STREAM PROTOCOL_ERROR", ""},
		"cookies are joined":     {append(get, "cookie", "a=1", "cookie", "b=2"), "", "200", "GET / HTTP/1.1\r\nHost: api.test\r\nCookie: a=1; b=2\r\n\r\n"},
		"trailer announces":      {append(post, "trailer", "content-length"), "hello", "200", "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		"expect":                 {append(post, "expect", "100-continue", "content-length", "5"), "hello", "200", sized},
		"proxy-authorization":    {append(get, "proxy-authorization", "Basic eA=="), "", "200", plain},
		"websocket by extension": {[]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "api.test"}, "", "RST_STREAM PROTOCOL_ERROR", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pn := newPen(t, someRules)
			rec := pn.record("api.test:443")
			h := pn.http2("api.test:443")
			h.headers(1, c.body == "", c.fields...)
			if c.body != "" {
				h.fr.WriteData(1, true, []byte(c.body))
			}
			if got := h.outcome(1, true); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			arrived, whole := rec.ended(pn)
			if c.arrives == "" && whole != 0 || c.arrives != "" && arrived != c.arrives {
				t.Errorf("arrived\n%q, want\n%q", arrived, c.arrives)
			}
			if c.arrives == "" && strings.HasPrefix(c.want, "4") && len(pn.dialed()) != 0 {
				t.Errorf("dialled %v", pn.dialed())
			}
		})
	}
}

// A refused client that waits to be sent away does not hold the proxy's end.
func TestCloseWhileRefused(t *testing.T) {
	pn := newPen(t, someRules)
	pn.all()
	for range 20 {
		c := pn.dial("web.test:80")
		io.WriteString(c, "GET / HTTP/1.1\r\nHost : web.test\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() { pn.p.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the proxy can't be closed")
	}
}

// An answer that comes before the body was read ends the request: what the client
// still sends of the body is not read as a request.
func TestSmugglingEarlyAnswer(t *testing.T) {
	pn := newPen(t, someRules)
	rec := pn.record("web.test:80")
	rec.early = true
	const evil = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"
	conn := pn.dial("web.test:80")
	got, _ := say(t, conn, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat(evil, 1000))
	if fmt.Sprint(got) != "[413]" {
		t.Errorf("%v", got)
	}
	if n := len(pn.dialed()); n != 1 {
		t.Errorf("%d connections", n)
	}
	if n := pn.records.count(func(e audit.Event) bool { _, ok := e.(*audit.FlowOpen); return ok }); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// An origin that answers before it has read the request gets all of it, and its
// answer arrives while the client still sends: neither waits for the other.
func TestEarlyAnswerWholeBody(t *testing.T) {
	pn := newPen(t, someRules)
	pn.origin("api.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.ProtoMajor == 1 {
			if err := rc.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
		}
		w.WriteHeader(200)
		rc.Flush()
		io.Copy(w, r.Body)
	}))
	for _, proto := range []string{"h1", "h2"} {
		for _, length := range []int64{-1, 300 << 10} {
			pr, pw := io.Pipe()
			req, _ := http.NewRequest("POST", "https://api.test/", pr)
			req.ContentLength = length
			sent, answered := bytes.Repeat([]byte("0123456789abcdef"), (300<<10)/16), make(chan struct{})
			copy(sent, "first")
			go func() {
				pw.Write(sent[:5])
				<-answered
				for b := sent[5:]; len(b) > 0; b = b[min(len(b), 7000):] {
					pw.Write(b[:min(len(b), 7000)])
				}
				pw.Close()
			}()
			resp, err := pn.client(proto).Do(req)
			close(answered)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s, length %d: %d bytes of %d came back: %v", proto, length, len(got), len(sent), err)
			}
		}
	}
}

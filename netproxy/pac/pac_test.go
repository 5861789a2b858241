package pac

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// evaluate returns what a function body returns.
func evaluate(t *testing.T, body string, env Env) (string, error) {
	t.Helper()
	p, err := Parse([]byte("function FindProxyForURL(url, host) {" + body + "\n}"))
	if err != nil {
		return "", err
	}
	return p.Find("https://www.example.com/", "www.example.com", env)
}

// noon is a Monday.
func noon() time.Time { return time.Date(2026, 11, 23, 12, 30, 15, 0, time.FixedZone("CET", 3600)) }

func fixedEnv() Env {
	return Env{Now: noon(), Address: netip.MustParseAddr("10.1.2.3"), Resolve: func(name string) netip.Addr {
		if name == "fixed.example" {
			return netip.MustParseAddr("192.0.2.7")
		}
		return netip.Addr{}
	}}
}

// TestFunctions: the functions of Netscape, Mozilla and Microsoft.
func TestFunctions(t *testing.T) {
	for expr, want := range map[string]string{
		`isPlainHostName("www")`: "true", `isPlainHostName("www.example.com")`: "false", `isPlainHostName("::1")`: "false",
		`dnsDomainIs("www.example.com", ".example.com")`: "true", `dnsDomainIs("www", ".example.com")`: "false", `dnsDomainIs("badexample.com", ".example.com")`: "false",
		`localHostOrDomainIs("www.example.com", "www.example.com")`: "true", `localHostOrDomainIs("www", "www.example.com")`: "true",
		`localHostOrDomainIs("www.other.com", "www.example.com")`: "false", `localHostOrDomainIs("ww", "www.example.com")`: "false",
		`dnsDomainLevels("www")`: "0", `dnsDomainLevels("www.example.com")`: "2",
		`shExpMatch("http://home.example.com/people/ari/index.html", "*/ari/*")`: "true", `shExpMatch("http://home.example.com/people/x/", "*/ari/*")`: "false",
		`shExpMatch("a.b", "a?b")`: "true", `shExpMatch("ab", "a?b")`: "false", `shExpMatch("", "*")`: "true", `shExpMatch("", "?")`: "false", `shExpMatch("aXbXc", "a*b*c")`: "true", `shExpMatch("a.b", "a.b*")`: "true", `shExpMatch("axb", "a.b")`: "false", `shExpMatch("a[1]", "a[1]")`: "true",
		// Nothing is looked up: a name has no address but a fixed one.
		`isResolvable("www.example.com")`: "false", `isResolvable("192.0.2.1")`: "true", `isResolvable("fixed.example")`: "true", `isResolvable("::1")`: "false", `isResolvableEx("::1")`: "true",
		`dnsResolve("www.example.com")`: "null", `dnsResolve("192.0.2.1")`: "192.0.2.1", `dnsResolve("fixed.example")`: "192.0.2.7", `dnsResolve("FIXED.example")`: "192.0.2.7", `dnsResolveEx("www.example.com") == ""`: "true", `dnsResolveEx("::1")`: "::1",
		`isInNet("198.95.249.79", "198.95.249.79", "255.255.255.255")`: "true", `isInNet("198.95.6.8", "198.95.0.0", "255.255.0.0")`: "true", `isInNet("198.96.6.8", "198.95.0.0", "255.255.0.0")`: "false",
		`isInNet("www.example.com", "0.0.0.0", "0.0.0.0")`: "false", `isInNet("fixed.example", "192.0.2.0", "255.255.255.0")`: "true", `isInNet(myIpAddress(), "10.0.0.0", "255.0.0.0")`: "true", `isInNet("192.0.2.1", "x", "255.0.0.0")`: "false", `isInNet(dnsResolve(host), "10.0.0.0", "255.0.0.0")`: "false",
		`isInNetEx("198.95.249.79", "198.95.249.0/24")`: "true", `isInNetEx("2001:db8::1", "2001:db8::/32")`: "true", `isInNetEx("2001:db9::1", "2001:db8::/32")`: "false", `isInNetEx("2001:db8::1", "x")`: "false",
		`myIpAddress()`: "10.1.2.3", `myIpAddressEx()`: "10.1.2.3", `sortIpAddressList("10.2.3.9;2001:db8::1;10.2.3.8")`: "2001:db8::1;10.2.3.8;10.2.3.9", `sortIpAddressList("x") == ""`: "true", `getClientVersion()`: "1.0",
		`alert("x" + host)`: "undefined",
		// Monday 12:30:15 in a zone where it is 11:30:15 in Greenwich.
		`weekdayRange("MON", "FRI")`: "true", `weekdayRange("SAT")`: "false", `weekdayRange("MON")`: "true", `weekdayRange("FRI", "MON")`: "true", `weekdayRange("TUE", "SUN")`: "false", `weekdayRange("MON", "GMT")`: "true", `weekdayRange("mon", "FRI", "GMT")`: "true",
		`dateRange(23)`: "true", `dateRange(1)`: "false", `dateRange(23, "GMT")`: "true", `dateRange("NOV")`: "true", `dateRange(2026)`: "true", `dateRange(2025)`: "false", `dateRange(1, 25)`: "true", `dateRange(24, 5)`: "false", `dateRange(20, 5)`: "true",
		`dateRange("JAN", "MAR")`: "false", `dateRange("OCT", "FEB")`: "true", `dateRange(1, "NOV", 15, "DEC")`: "true", `dateRange(24, "NOV", 15, "DEC")`: "false", `dateRange("NOV", 2026, "MAR", 2027)`: "true", `dateRange("DEC", 2026, "MAR", 2027)`: "false",
		`dateRange(1, "JAN", 2026, 23, "NOV", 2026)`: "true", `dateRange(1, "JAN", 2026, 22, "NOV", 2026)`: "false", `dateRange(2027, 2025)`: "false", `dateRange(2025, 2027)`: "true",
		`timeRange(12)`: "true", `timeRange(12, "GMT")`: "false", `timeRange(11, "GMT")`: "true", `timeRange(12, 13)`: "true", `timeRange(11, 12)`: "false", `timeRange(12, 12)`: "true", `timeRange(9, 17)`: "true", `timeRange(22, 6)`: "false", `timeRange(22, 13)`: "true",
		`timeRange(12, 0, 12, 30)`: "true", `timeRange(12, 0, 12, 29)`: "false", `timeRange(12, 30, 15, 12, 30, 15)`: "true", `timeRange(12, 30, 16, 12, 31, 0)`: "false", `timeRange(11, 30, 0, 11, 31, 0, "GMT")`: "true", `timeRange(0, 24)`: "true",
	} {
		if got, err := evaluate(t, "return String("+expr+")", fixedEnv()); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %s", expr, got, err, want)
		}
	}
	for _, expr := range []string{`weekdayRange("X")`, `weekdayRange()`, `weekdayRange("MON", "TUE", "WED")`, `dateRange()`, `dateRange("X")`, `dateRange(1, "JAN")`, `dateRange(1, 2, 3)`, `dateRange(1, 2, 3, 4)`, `timeRange()`, `timeRange(1, 2, 3)`, `timeRange(25)`, `timeRange(1, 60, 2, 0)`, `timeRange("x", 2)`} {
		if got, err := evaluate(t, "return String("+expr+")", fixedEnv()); err == nil {
			t.Errorf("%s: %q", expr, got)
		}
	}
}

// TestDocumented: files like the examples of the documents, in our own words.
func TestDocumented(t *testing.T) {
	for _, c := range []struct{ name, file, asked string }{
		{"but for local hosts", `function FindProxyForURL(url, host) {
	if (isPlainHostName(host) || dnsDomainIs(host, ".example.com")) return "DIRECT";
	else return "PROXY w3proxy.example.com:8080; DIRECT";
}`, "http://www/=DIRECT http://www.example.com/=DIRECT http://other.example/=PROXY w3proxy.example.com:8080; DIRECT"},
		{"local hosts but those outside", `function FindProxyForURL(url, host)
{
	if ((isPlainHostName(host) || dnsDomainIs(host, ".example.com")) &&
	    !localHostOrDomainIs(host, "www.example.com") &&
	    !localHostOrDomainIs(host, "merchant.example.com"))
		return "DIRECT"
	else
		return "PROXY w3proxy.example.com:8080"
}`, "http://www/=PROXY w3proxy.example.com:8080 http://a.example.com/=DIRECT http://merchant.example.com/=PROXY w3proxy.example.com:8080"},
		{"by subnet", `function FindProxyForURL(url, host) {
	if (isInNet(host, "198.95.0.0", "255.255.0.0")) return "DIRECT";
	return "PROXY proxy.example.com:8080";
}`, "http://198.95.3.4/=DIRECT http://198.96.3.4/=PROXY proxy.example.com:8080"},
		{"balance by top-level domain", `function FindProxyForURL(url, host) {
	if (isPlainHostName(host) || dnsDomainIs(host, ".example.org")) return "DIRECT";
	else if (shExpMatch(host, "*.com")) return "PROXY proxy1.example.org:8080; PROXY proxy4.example.org:8080";
	else if (shExpMatch(host, "*.edu")) return "PROXY proxy2.example.org:8080; PROXY proxy4.example.org:8080";
	else return "PROXY proxy3.example.org:8080; PROXY proxy4.example.org:8080";
}`, "http://a.com/=PROXY proxy1.example.org:8080; PROXY proxy4.example.org:8080 http://a.edu/=PROXY proxy2.example.org:8080; PROXY proxy4.example.org:8080 http://a.net/=PROXY proxy3.example.org:8080; PROXY proxy4.example.org:8080"},
		{"by protocol", `function FindProxyForURL(url, host) {
	if (url.substring(0, 5) == "http:") { return "PROXY web-proxy.example.com:8080"; }
	else if (url.substring(0, 6) == "https:") { return "HTTPS security.example.com:8443"; }
	else { return "DIRECT"; }
}`, "http://a.com/=PROXY web-proxy.example.com:8080 https://a.com/=HTTPS security.example.com:8443"},
		{"by a sum of the host", `function FindProxyForURL(url, host) { return proxies[hash(host) % proxies.length]; }
var proxies = ["PROXY a.example:1", "PROXY b.example:1"];
function hash(s) { var n = 0; for (var i = 0; i < s.length; i++) { n += s.charCodeAt(i) } return n }`, "http://a/=PROXY b.example:1 http://b/=PROXY a.example:1"},
		{"a table", `var direct = { "a.example": 1, "b.example": 1 };
var networks = [["10.0.0.0", "255.0.0.0"], ["172.16.0.0", "255.240.0.0"], ["192.168.0.0", "255.255.0.0"]];
function FindProxyForURL(url, host) {
	var h = host.toLowerCase(), i;
	if (direct[h] || /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)$/.test(h)) { return "DIRECT"; }
	for (i in networks) if (isInNet(h, networks[i][0], networks[i][1])) return "DIRECT";
	switch (h.split('.').pop()) {
	case "cn": return "SOCKS5 socks.example:1080";
	case "de": case "fr": return "PROXY eu.example:3128";
	default: return 'PROXY us.example:3128';
	}
}`, "http://A.example/=DIRECT http://172.31.2.3/=DIRECT http://172.32.2.3/=PROXY us.example:3128 http://x.fr/=PROXY eu.example:3128 http://x.cn/=SOCKS5 socks.example:1080 http://127.9.9.9/=DIRECT"},
		{"Microsoft's for IPv6", `function FindProxyForURLEx(url, host) { if (isInNetEx(host, "2001:db8::/32")) return "DIRECT"; return "PROXY p.example:80" }`, "http://2001:db8::5/=DIRECT http://x/=PROXY p.example:80"},
	} {
		p, err := Parse([]byte(c.file))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, a := range strings.Split(c.asked, " http") {
			a = "http" + strings.TrimPrefix(a, "http")
			url, want, _ := strings.Cut(a, "=")
			_, host, _ := strings.Cut(strings.TrimSuffix(url, "/"), "://")
			if got, err := p.Find(url, host, fixedEnv()); err != nil || got != want {
				t.Errorf("%s: %s: %q, %v, want %q", c.name, url, got, err, want)
			}
		}
	}
}

// TestHostile: no program takes more than it may, and nothing in it catches that.
func TestHostile(t *testing.T) {
	for body, want := range map[string]string{
		`while (true) {}`: "steps", `for (;;) ;`: "steps", `do {} while (1)`: "steps",
		`try { while (true) {} } catch (e) { return "DIRECT" }`:                                                       "steps",
		`try { while (true) {} } finally { return "DIRECT" }`:                                                         "steps",
		`while (true) { try { throw 1 } catch (e) {} }`:                                                               "more than",
		`function f() { return f() } return f()`:                                                                      "too deep",
		`function f() { try { return f() } catch (e) { return "DIRECT" } } return f()`:                                "too deep",
		`var s = "x"; while (true) s += s;`:                                                                           "bytes",
		`var a = []; while (true) a.push("xxxxxxxxxxxxxxxx" + a.length);`:                                             "more than",
		`var a = [1]; while (true) a = a.concat(a);`:                                                                  "more than",
		`var a = []; a[1e9] = 1; return "DIRECT"`:                                                                     "steps",
		`var a = new Array(2147483647); return "DIRECT"`:                                                              "steps",
		`var o = {}; var i = 0; while (true) o["k" + i++] = 1;`:                                                       "more than",
		`var a = []; a[0] = a; return a.join()`:                                                                       "too deep",
		`var s = "a"; for (var i = 0; i < 16; i++) s += s; while (true) /(a*)*b/.test(s);`:                            "steps",
		`var s = "a"; for (var i = 0; i < 16; i++) s += s; while (true) shExpMatch(s, "*a*a*a*a*b");`:                 "steps",
		`var s = "a"; for (var i = 0; i < 18; i++) s += s; while (true) s.indexOf("b");`:                              "steps",
		`var s = "a"; for (var i = 0; i < 18; i++) s += s; while (true) s.split("");`:                                 "more than",
		`var s = "a"; for (var i = 0; i < 18; i++) s += s; while (true) s.replace(/a/g, s);`:                          "more than",
		`while (true) new RegExp("(a{1,500}){1,2}");`:                                                                 "steps",
		`var a = []; for (var i = 0; i < 100000; i++) a.push(1); while (true) a.reverse().indexOf(2);`:                "steps",
		`var a = []; for (var i = 0; i < 1000; i++) a.push(1); while (true) a.map(function (x) { return a.slice() })`: "more than",
		`var s = "1"; for (var i = 0; i < 16; i++) s += s; while (true) parseFloat(s + "x" + "." );`:                  "more than",
		`return "x".repeat(1e9)`:                            "not a function",
		`return host.constructor.constructor("return 1")()`: "no property of undefined",
		`return eval("1")`:                                  "here eval is not understood",
		`return nothing`:                                    "ReferenceError: nothing is not defined",
		`null.x`:                                            "TypeError: there is no property of null",
		`throw "\x1b[2J" + host`:                            "it failed: ?[2Jwww.example.com",
		`throw {a: 1}`:                                      "something was thrown",
		`return 5`:                                          "returns no text",
		``:                                                  "returns no text",
		`var s = "DIRECT;"; for (var i = 0; i < 10; i++) s += s; return s`: "too long a text",
		`return /(?=a)/.test(host) + ""`:                                   "looks ahead",
		`return /(a)\1/.test(host) + ""`:                                   "regular expression",
		`with (host) {}`:                                                   "here with is not understood",
		"return `x`":                                                       "begins nothing",
		`return "é"`:                                                       "not ASCII",
		`return function* () {}`:                                           "* is not expected",
		`return (x) => x`:                                                  "=> is not expected",
		strings.Repeat("(", 1000):                                          "within each other",
		strings.Repeat("{", 1000):                                          "within each other",
		strings.Repeat("if (1) ", 1000):                                    "within each other",
		"return " + strings.Repeat("!", 1000) + "1":                        "within each other",
		"return host" + strings.Repeat("[0]", 1000):                        "within each other",
		"return " + strings.Repeat("[", 1000):                              "within each other",
		"return 1" + strings.Repeat("?1:1", 1000):                          "within each other",
		"return " + strings.Repeat("function () { return ", 1000):          "within each other",
		"return 1 +":                                                       "is not expected",
		"return " + strings.Repeat("host+", 6000) + "1":                    "expression is too long",
		"return (" + strings.Repeat("host,", 6000) + "1)":                  "expression is too long",
		strings.Repeat("/(a{1,30}){1,30}/;", 4500):                         "too many regular expressions",
		"break":                     "outside of",
		"1 = 2":                     "can't be assigned",
		`return String.prototype.x`: "no property of undefined",
		`var f = alert; f.x = 1; Math.floor = f; host.x = 1;`:                                  "of what is no object",
		`return isInNet.call(null, host)`:                                                      "not a function",
		`/a/g.test(host)`:                                                                      "flag g",
		`return "` + strings.Repeat("x", 100) + `".replace("x", "$&")`:                         "without $",
		`var s = ""; while (s.length < 4e6) s += "0123456789abcdef0123456789abcdef"; return s`: "bytes",
	} {
		begun := time.Now()
		got, err := evaluate(t, body, fixedEnv())
		var e *Error
		if got != "" || !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %.40q, %v, want %s", body, got, err, want)
		}
		if err != nil && (len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\x1b\n")) {
			t.Errorf("%.80s: %q", body, err)
		}
		if d := time.Since(begun); d > 20*time.Second { // seconds are the machine's load
			t.Errorf("%.80s took %s", body, d)
		}
	}
	if _, err := Parse(make([]byte, MaxFile+1)); err == nil {
		t.Error("a huge file is read")
	}
	if p, err := Parse([]byte("var x = 1;")); err != nil {
		t.Error(err)
	} else if _, err := p.Find("https://a/", "a", fixedEnv()); err == nil || !strings.Contains(err.Error(), "no function FindProxyForURL") {
		t.Error(err)
	}
}

// TestLong: files of companies are long, and not deep.
func TestLong(t *testing.T) {
	var b strings.Builder
	b.WriteString("if (host == 'x') return 'x';")
	for range 2000 {
		b.WriteString(" else if (dnsDomainIs(host, '.lab.example') || host == 'y') { return 'y'; }\n")
	}
	b.WriteString("else if (" + strings.Repeat("host == 'z' || ", 3000) + "true) return 'DIRECT'; else return 'z';")
	if got, err := evaluate(t, b.String(), fixedEnv()); err != nil || got != "DIRECT" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAnew: no evaluation leaves anything for the next.
func TestAnew(t *testing.T) {
	p, err := Parse([]byte(`var n = 0; function FindProxyForURL(url, host) { left = left2(); n++; Math.floor = n; return "DIRECT " + n } function left2() { return typeof left }`))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string)
	for range 8 {
		go func() {
			s, err := p.Find("https://a/", "a", fixedEnv())
			if err != nil {
				s = err.Error()
			}
			done <- s
		}()
	}
	for range 8 {
		if s := <-done; s != "DIRECT 1" {
			t.Error(s)
		}
	}
}

func TestResult(t *testing.T) {
	for s, want := range map[string]string{
		"DIRECT": "DIRECT", " direct ; ": "DIRECT", "PROXY a.example:3128": "http://a.example:3128", "PROXY A.Example.": "http://a.example:80", "HTTP a:1; HTTPS b; SOCKS c; SOCKS5 d:9; DIRECT": "http://a:1 https://b:443 socks5://c:1080 socks5://d:9 DIRECT",
		"PROXY [2001:DB8::1]:80;\tproxy\t10.0.0.1:8080": "http://[2001:db8::1]:80 http://10.0.0.1:8080", "PROXY [::1]": "http://[::1]:80",
		"": "", ";": "", "PROXY": "", "PROXY a b": "", "DIRECT x": "", "SOCKS4 a:1": "", "QUIC a:1": "", "PROXY a:0": "", "PROXY a:65536": "", "PROXY a:080": "", "PROXY a:": "", "PROXY :1": "", "PROXY a:+1": "", "PROXY u@a:1": "",
		"PROXY http://a:1": "", "PROXY a/b:1": "", "PROXY ::1:80": "", "PROXY [::1:80": "", "PROXY [a]:80": "", "PROXY [::1%25eth0]:1": "", "PROXY a\nb:1": "", "PROXY a\x00:1": "", "PROXY a:1, PROXY b:1": "", "undefined": "", "null": "", strings.Repeat("DIRECT;", 17): "",
		"PROXY é.example:1": "",
	} {
		ways, err := Result(s)
		var got []string
		for _, w := range ways {
			got = append(got, w.String())
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

// FuzzFind: no file and no host makes a panic, or an error with what is not to be shown.
func FuzzFind(f *testing.F) {
	for _, b := range bodies {
		f.Add("function FindProxyForURL(url, host) {"+b+"}", "www.example.com")
	}
	f.Add("function FindProxyForURL(u, h) { return dateRange(1, 'JAN') + shExpMatch(h, '*x?') + h.split(/./) }", "a")
	f.Fuzz(func(t *testing.T, file, host string) {
		p, err := Parse([]byte(file))
		if err == nil {
			var s string
			if s, err = p.Find("https://"+host+"/", host, fixedEnv()); err == nil {
				_, err = Result(s)
			}
		}
		var e *Error
		if err != nil && (!errors.As(err, &e) || len(err.Error()) > 400 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' })) {
			t.Errorf("%q", err)
		}
	})
}

// FuzzResult: what is read of a result is in its canonical form.
func FuzzResult(f *testing.F) {
	f.Add("PROXY a:1; DIRECT")
	f.Add("SOCKS5 [::1]:1080")
	f.Fuzz(func(t *testing.T, s string) {
		ways, err := Result(s)
		if (err == nil) != (len(ways) > 0) {
			t.Errorf("%v, %v", ways, err)
		}
		for _, w := range ways {
			entry := "DIRECT"
			if w.Scheme != "" {
				scheme, addr, _ := strings.Cut(w.String(), "://")
				entry = scheme + " " + addr
			}
			if again, err := Result(entry); err != nil || len(again) != 1 || again[0] != w {
				t.Errorf("%q: %v, then %v, %v", s, w, again, err)
			}
		}
	})
}

package pac

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bodies are functions' bodies that use what the interpreter knows; each returns a text.
var bodies = []string{
	`return 1 + 2 + "3" + 4 + null + undefined + true + [1, [2, 3]] + {};`,
	`return "" + 0.1 + 1e21 + 1e-7 + 123456789012 + -0 + 1/0 + -1/0 + 0/0 + 0x1f + 1.50 + 100;`,
	`return [5 % 3, -5 % 3, 7 / 2, 1 << 33, -1 >>> 28, -8 >> 1, 5 & 6, 5 | 6, 5 ^ 6, ~5, +"12", -"3", +"", +"x", +"0x10", +" 7 ", !0, !"", typeof x, typeof 1, typeof "", typeof {}, typeof null, typeof isNaN].join();`,
	`return [1 == "1", 1 === "1", null == undefined, null === undefined, null == 0, "" == 0, "a" < "b", "10" < "9", 10 < 9, "10" < 9, NaN == NaN, [1] == 1, "1,2" == [1, 2], 0 == false, "0" == false, undefined == 0].join();`,
	`var s = ""; for (var i = 0; i < 10; i++) { if (i == 3) continue; if (i == 7) break; s += i; } return s + i;`,
	`var s = ""; var i = 5; while (i--) s += i; do { s += "d"; } while (++i < 3); return s + i;`,
	`var s = ""; for (var k in {b: 1, a: 2, "c d": 3}) s += k; for (var k in [7, 8]) s += k; return s + k;`,
	`function f(x) { switch (x) { case 1: return "one"; case "2": case 3: s += "t"; default: s += "d"; case 4: s += "4"; break; case 5: s += "5" } return s } var s = ""; return f(1) + f("2") + f(3) + f(4) + f(9) + f(5);`,
	`try { null.x; } catch (e) { var c = "caught"; } finally { c += " finally"; } return c;`,
	`function g() { try { return "a" } finally { s = "f" } } var s; return g() + s;`,
	`function g() { try { throw "t" } catch (e) { return e } finally { s = "f" } } var s; return g() + s;`,
	`var r = ""; try { try { throw "x" } finally { r += "1" } } catch (e) { r += e } return r;`,
	`return later() + hoisted; var hoisted = 1; function later() { return "l" }`,
	`var n = 0; function count() { return ++n } var a = count() + count() * count(); return "" + a + n;`,
	`function outer() { var x = 1; return function () { return x++ } } var a = outer(), b = outer(); return "" + a() + a() + b();`,
	`function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) } return "" + fib(12);`,
	`let a = 1; { let a = 2; { const a = 3; } a++; } for (let i = 0; i < 3; i++) { let a = i } return "" + a;`,
	`var o = {a: {b: [1, {c: "deep"}]}, "x y": 2, 3: "three"}; o.n = 4; o["a"].b.push(5); delete_ = 1; return o.a.b[1].c + o["x y"] + o[3] + o.n + o.a.b.length + o.none + ("a" in o) + ("z" in o) + o.hasOwnProperty("n");`,
	`var a = [3, 1, 2]; a[5] = 9; a.push(7, 8); var p = a.pop(), q = a.shift(); return a.join("-") + p + q + a.length + a.indexOf(9) + a.slice(1, -1) + a.concat([1], 2).length + a.reverse()[0];`,
	`return [1, 2, 3].map(function (x) { return x * 2 }).filter(function (x) { return x > 2 }).join() + [1, 2].some(function (x) { return x == 2 }) + [1].every(function (x) { return x > 1 });`,
	`var s = "www.Example.com"; return [s.charAt(4), s.charCodeAt(0), s.indexOf("."), s.indexOf(".", 4), s.indexOf("z"), s.lastIndexOf("."), s.substring(4, 1), s.substring(8), s.substr(-3), s.substr(4, 3), s.slice(-3, -1), s.slice(2), s.toLowerCase(), s.toUpperCase(), s.length, s[0], s[99], s.split(".").length, s.split(".")[1], s.split("").length, " x ".trim() + "|"].join();`,
	`var s = "a.b.c"; return [s.replace(".", "-"), s.replace(/\./g, "-"), s.replace(/(\w)\.(\w)/, "x"), s.search(/b/), s.match(/[a-z]/g), s.match(/(b)\.(c)/)[2], s.match(/z/), s.split(/\./), /^a\.b/.test(s), /B/i.test(s), /x/.exec(s), /(.)c$/.exec(s).index, new RegExp("^a").test(s), s.startsWith("a"), s.endsWith("c"), s.includes("b"), s.concat("d", 1)].join();`,
	`return [parseInt("12px"), parseInt("0x1f"), parseInt("z"), parseInt("101", 2), parseInt(" -7"), parseFloat("1.5e"), parseFloat("x"), isNaN("x"), isNaN("1"), Number("1.5"), String(12), Math.floor(-1.5), Math.ceil(1.2), Math.round(2.5), Math.round(-2.5), Math.max(1, 5, 3), Math.min(4, 2), Math.abs(-3), Math.pow(2, 10), Math.max()].join();`,
	`var d = new Date(2026, 10, 23, 12, 30, 5); return [d.getFullYear(), d.getMonth(), d.getDate(), d.getDay(), d.getHours(), d.getMinutes(), d.getSeconds(), d > new Date(0), new Date(86400000).getUTCDate()].join();`,
	`var a = 1, b = (a++, a + 1), c = a > 1 ? b > 5 ? "x" : "y" : "z"; return "" + a + b + c + (a && "t") + (0 || "f") + (0 && "n") + void 0;`,
	`if (1) if (0) var r = "a"; else r = "b"
return r`,
	"var a = 1\nvar b = a\n++b\nreturn '' + a + b",
	`return 'q\'\x41\u0042\n\\' + "\
cont";`,
	`var f = function (a, b) { return a + "," + b }; return f(1) + f(1, 2, 3);`,
	`function T(v) { this.v = v; this.get = function () { return this.v } } var t = new T(5); return "" + t.get() + t.v;`,
	`x1 = 5; x1 += 2; x1 *= 3; x1 -= 1; x1 /= 4; x1 %= 4; x1 <<= 2; x1 |= 1; x1 &= 7; x1 ^= 2; return "" + x1;`,
	`var h = {}; var l = "a b a c a".split(" "); for (var i = 0; i < l.length; i++) h[l[i]] = (h[l[i]] || 0) + 1; var s = ""; for (var k in h) s += k + h[k]; return s;`,
	`return (12).toString(16) + (255).toString(2) + [1, [2]].toString();`,
}

// TestNode: the bodies mean what they mean to a real engine.
func TestNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("node is not installed")
	}
	list, err := json.Marshal(bodies)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bodies.js")
	script := "for (const b of " + string(list) + ") { let r; try { r = String(new Function(b)()) } catch (e) { r = 'THROWN ' + e } console.log(JSON.stringify(r)) }"
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, file)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(bodies) {
		t.Fatalf("%d answers to %d", len(lines), len(bodies))
	}
	for i, line := range lines {
		var want string
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		if got, err := evaluate(t, bodies[i], Env{Now: time.Date(2026, 11, 23, 12, 30, 5, 0, time.UTC)}); err != nil || got != want {
			t.Errorf("%s\n\tgives %q, %v\n\tnode  %q", bodies[i], got, err, want)
		}
	}
}

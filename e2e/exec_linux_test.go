package e2e

import (
	"strings"
	"testing"

	"github.com/penstock/penstock/internal/world"
)

// keepThenExec makes a connection, sends a request on it, and executes another
// program that sends the next one on the same connection.
const keepThenExec = `
import os, socket, sys
s = socket.create_connection(("good.example.com", 80))
def answer():
    got = b""
    while b"\r\n\r\n" not in got:
        more = s.recv(65536)
        if not more: return b"closed"
        got += more
    return got.split(b"\r\n")[0]
s.sendall(b"GET /before HTTP/1.1\r\nHost: good.example.com\r\nContent-Length: 0\r\n\r\n")
print("python", answer().decode(), flush=True)
os.set_inheritable(s.fileno(), True)
os.execv("/usr/bin/perl", ["perl", "-e", """
$| = 1;
open(my $s, "+<&=", $ARGV[0]) or die $!;
my $buf = ""; 
syswrite($s, "GET /after HTTP/1.1\\r\\nHost: good.example.com\\r\\nConnection: close\\r\\n\\r\\n");
while (sysread($s, my $part, 65536)) { $buf .= $part }
my @l = grep { /^HTTP/ } split(/\\r\\n|\\n/, $buf);
print "perl ", join(" | ", @l), "\\n";
""", str(s.fileno())])
`

// A rule about a process is about what that executes now: a connection that it
// keeps when it executes another program is nobody's.
func TestWhoAfterExec(t *testing.T) {
	whoPens(t, func(t *testing.T, p *pen) {
		world.Tool(t, "perl")
		p.W.HTTP("good.example.com", world.Text("hello"))
		python := strings.TrimSpace(p.Sh("readlink -f /usr/bin/python3").Stdout)
		p.Allow = []string{"{host: good.example.com, process: {exe: " + python + "}}"}
		p.Home.Write(t, "project/keep.py", keepThenExec)
		r := p.Sh("/usr/bin/python3 keep.py")
		if !strings.Contains(r.Stdout, "python HTTP/1.1 200") {
			t.Errorf("its own request: %s", r)
		}
		if !strings.Contains(r.Stdout, "perl HTTP/1.1 403") {
			t.Errorf("the other program's request: %s", r)
		}
		if r := p.Sh("curl -sS -o /dev/null -w '%{http_code}\\n' http://good.example.com/curl"); !strings.Contains(r.Stdout, "403") {
			t.Errorf("another program's connection: %s", r)
		}
	})
}

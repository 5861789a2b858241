package policy

import (
	"fmt"
	"strings"
	"testing"
)

func TestReach(t *testing.T) {
	f, err := Parse("p", User, []byte(`version: 1
egress:
  allow:
    - {host: a.example}
    - {host: git.corp.example, addresses: [10.0.0.0/8]}
    - {host: git2.corp.example, addresses: [10.0.0.0/8]}
    - {cidr: 192.168.1.0/24, ports: [5432]}
    - {host: host.penstock.internal, ports: [8080-8081], protocol: tcp}
  deny:
    - {cidr: 10.9.0.0/16}
  upstreams: {corp: {url: "http://proxy.corp.example:3128", addresses: [10.7.0.0/16]}, near: {url: "socks5://127.0.0.1:1080"}, public: {url: "http://93.184.216.34:1"}}
  hosts: {db.example: 10.1.2.3, www.example: 93.184.216.34}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New([]*File{f})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range p.Reach() {
		got = append(got, fmt.Sprintf("%s:%d-%d", r.Prefix, r.From, r.To))
	}
	want := "10.0.0.0/8:80-80 10.0.0.0/8:443-443 10.1.2.3/32:1-65535 10.7.0.0/16:3128-3128 127.0.0.1/32:1080-1080 127.0.0.1/32:8080-8081 192.168.1.0/24:5432-5432 ::1/128:8080-8081"
	if strings.Join(got, " ") != want {
		t.Errorf("%s", strings.Join(got, " "))
	}
}

package dialguard

import (
	"net/netip"
	"testing"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want Class
	}{
		{"1.1.1.1", ClassPublic}, {"8.8.8.8", ClassPublic}, {"172.32.0.1", ClassPublic}, {"172.15.255.255", ClassPublic},
		{"100.63.255.255", ClassPublic}, {"100.128.0.0", ClassPublic}, {"198.17.255.255", ClassPublic}, {"198.20.0.0", ClassPublic},
		{"223.255.255.255", ClassPublic}, {"192.0.1.0", ClassPublic}, {"169.253.255.255", ClassPublic}, {"126.255.255.255", ClassPublic}, {"128.0.0.0", ClassPublic},
		{"0.0.0.0", ClassUnspecified}, {"0.1.2.3", ClassReserved}, {"127.0.0.1", ClassLoopback}, {"127.255.255.255", ClassLoopback},
		{"10.0.0.0", ClassPrivate}, {"10.255.255.255", ClassPrivate}, {"172.16.0.0", ClassPrivate}, {"172.31.255.255", ClassPrivate}, {"192.168.0.1", ClassPrivate},
		{"169.254.0.1", ClassLinkLocal}, {"169.254.169.254", ClassMetadata}, {"169.254.170.2", ClassMetadata}, {"168.63.129.16", ClassMetadata},
		{"100.100.100.200", ClassMetadata}, {"192.0.0.192", ClassMetadata}, {"100.64.0.0", ClassCGNAT}, {"100.127.255.255", ClassCGNAT},
		{"192.0.0.9", ClassReserved}, {"192.88.99.1", ClassReserved}, {"198.18.0.1", ClassBenchmarking}, {"198.19.255.255", ClassBenchmarking},
		{"192.0.2.1", ClassDocumentation}, {"198.51.100.1", ClassDocumentation}, {"203.0.113.1", ClassDocumentation},
		{"224.0.0.1", ClassMulticast}, {"239.255.255.255", ClassMulticast}, {"240.0.0.1", ClassReserved}, {"255.255.255.254", ClassReserved}, {"255.255.255.255", ClassBroadcast},

		{"2606:4700::1111", ClassPublic}, {"2001:4860:4860::8888", ClassPublic}, {"2a00::1", ClassPublic}, {"3ffe::1", ClassPublic},
		{"::", ClassUnspecified}, {"::1", ClassLoopback}, {"::2", ClassReserved}, {"fe80::1", ClassLinkLocal}, {"febf::1", ClassLinkLocal}, {"fec0::1", ClassSiteLocal},
		{"fc00::1", ClassPrivate}, {"fdff::1", ClassPrivate}, {"ff02::1", ClassMulticast}, {"fd00:ec2::254", ClassMetadata}, {"fd20:ce::254", ClassMetadata},
		{"2001:db8::1", ClassDocumentation}, {"3fff::1", ClassDocumentation}, {"3fff:fff:ffff::1", ClassDocumentation}, {"3fff:1000::1", ClassPublic},
		{"100::1", ClassReserved}, {"5f00::1", ClassReserved}, {"4000::1", ClassReserved}, {"1::1", ClassReserved}, {"2001:1::1", ClassReserved}, {"2001:20::1", ClassReserved}, {"2001:2::1", ClassBenchmarking},
		{"2001:200::1", ClassPublic},

		{"::ffff:127.0.0.1", ClassLoopback}, {"::ffff:1.1.1.1", ClassPublic}, {"::ffff:169.254.169.254", ClassMetadata},
		{"::127.0.0.1", ClassLoopback}, {"::10.0.0.1", ClassPrivate}, {"::8.8.8.8", ClassReserved},
		{"::ffff:0:10.0.0.1", ClassReserved}, // SIIT, RFC 2765
		{"64:ff9b::1.1.1.1", ClassPublic}, {"64:ff9b::127.0.0.1", ClassLoopback}, {"64:ff9b::a9fe:a9fe", ClassMetadata}, {"64:ff9b::192.168.1.1", ClassPrivate},
		{"64:ff9b::1:1.1.1.1", ClassReserved}, {"64:ff9b:1::1.1.1.1", ClassNAT64Local}, {"64:ff9b:1:ffff::1", ClassNAT64Local},
		{"2002:0101:0101::1", ClassPublic}, {"2002:7f00:1::1", ClassLoopback}, {"2002:a9fe:a9fe::1", ClassMetadata}, {"2002:c0a8:101::1", ClassPrivate}, {"2002:0101:0101:0:0:5efe:10.0.0.1", ClassPrivate},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", ClassPublic},   // server 65.54.227.120, client 192.0.2.45
		{"2001:0:4136:e378:8000:63bf:80ff:fffe", ClassLoopback}, // client 127.0.0.1
		{"2001:0:0a00:0001:8000:63bf:3fff:fdd2", ClassPrivate},  // server 10.0.0.1
		{"2606:4700::5efe:10.0.0.1", ClassPrivate}, {"2606:4700::200:5efe:127.0.0.1", ClassLoopback}, {"2606:4700::5efe:1.1.1.1", ClassPublic},
		{"2001:db8::5efe:10.0.0.1", ClassPrivate},
		{"fe80::1%eth0", ClassInvalid}, {"2606:4700::1%1", ClassInvalid},
	} {
		if got := Classify(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("Classify(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
	if got := Classify(netip.Addr{}); got != ClassInvalid {
		t.Errorf("Classify of no address = %s", got)
	}
	if Class("").Free() {
		t.Error("the zero class is free")
	}
}

func BenchmarkClassify(b *testing.B) {
	a := netip.MustParseAddr("2606:4700::1111")
	b.ReportAllocs()
	for b.Loop() {
		if !Classify(a).Free() {
			b.Fatal("not public")
		}
	}
}

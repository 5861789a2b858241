package dns

import (
	"strconv"

	"golang.org/x/net/dns/dnsmessage"
)

// typeName is the mnemonic of a query type, or TYPEn (RFC 3597 section 5).
func typeName(t dnsmessage.Type) string {
	switch t {
	case dnsmessage.TypeA:
		return "A"
	case dnsmessage.TypeNS:
		return "NS"
	case dnsmessage.TypeCNAME:
		return "CNAME"
	case dnsmessage.TypeSOA:
		return "SOA"
	case dnsmessage.TypePTR:
		return "PTR"
	case dnsmessage.TypeMX:
		return "MX"
	case dnsmessage.TypeTXT:
		return "TXT"
	case dnsmessage.TypeAAAA:
		return "AAAA"
	case dnsmessage.TypeSRV:
		return "SRV"
	case dnsmessage.TypeAXFR:
		return "AXFR"
	case dnsmessage.TypeALL:
		return "ANY"
	case typeSVCB:
		return "SVCB"
	case typeHTTPS:
		return "HTTPS"
	case typeIXFR:
		return "IXFR"
	case 35:
		return "NAPTR"
	case 43:
		return "DS"
	case 48:
		return "DNSKEY"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// rcodeName is the mnemonic of a response code that we give.
func rcodeName(c uint16) string {
	switch c {
	case 0:
		return "NOERROR"
	case 1:
		return "FORMERR"
	case 2:
		return "SERVFAIL"
	case 3:
		return "NXDOMAIN"
	case 4:
		return "NOTIMP"
	case 5:
		return "REFUSED"
	case rcodeBadVersion:
		return "BADVERS"
	}
	return "RCODE" + strconv.Itoa(int(c))
}

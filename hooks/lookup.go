package hooks

// Lookup is what is known of a question for a name beside the name, at PointDNS.
type Lookup struct {
	// Type is of what the pen asked its resolver, A or AAAA; "" when it makes a
	// connection to the name, which it can without having asked.
	Type string
	// Rule is the "file:line" of the first rule that lets anything go to the name, or
	// of the one that lets the connection; "" for the default.
	Rule string
}

package hooks

// Tool is one call of a tool by JSON-RPC (tools/call of the Model Context Protocol), at
// PointToolCall. It is a value that nobody changes.
type Tool struct {
	Name string
	// Arguments are as the pen has written them: valid JSON in UTF-8, in which no object
	// has a key twice; nil if there are none.
	Arguments []byte
}

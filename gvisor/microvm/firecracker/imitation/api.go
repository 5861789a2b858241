package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

//go:embed api.json
var published []byte

// description is what callers are held to.
type description struct {
	Calls  map[string]call             `json:"calls"`
	Bodies map[string]map[string]field `json:"bodies"`
}

type call struct {
	When    string `json:"when"` // "before": not once the machine runs
	Body    string `json:"body"`
	Partial bool   `json:"partial"` // no field has to be there
}

type field struct {
	Type     string   `json:"type"`
	Required bool     `json:"required"`
	Minimum  *float64 `json:"minimum"`
	Maximum  *float64 `json:"maximum"`
	Enum     []string `json:"enum"`
}

func described() (*description, error) {
	d := &description{}
	return d, json.Unmarshal(published, d)
}

// check says how a call is not one of the description's.
func (d *description) check(name string, body []byte, started bool) (map[string]any, error) {
	c, ok := d.Calls[name]
	switch {
	case !ok:
		return nil, says("Invalid request method and/or path: %s.", name)
	case c.When == "before" && started:
		return nil, says("The requested operation is not supported after starting the microVM.")
	case c.Body == "" && len(body) > 0:
		return nil, says("%s cannot have a body.", name)
	case c.Body == "":
		return nil, nil
	}
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&fields); err != nil || dec.More() {
		return nil, says("An error occurred when deserializing the json body of a request: %v.", err)
	}
	for k, v := range fields {
		f, ok := d.Bodies[c.Body][k]
		if !ok {
			return nil, fmt.Errorf("unknown field `%s`", k)
		}
		if err := f.check(v); err != nil {
			return nil, fmt.Errorf("field `%s`: %w", k, err)
		}
	}
	for k, f := range d.Bodies[c.Body] {
		if _, ok := fields[k]; f.Required && !c.Partial && !ok {
			return nil, fmt.Errorf("missing field `%s`", k)
		}
	}
	return fields, nil
}

// says is an error in the words of Firecracker.
func says(format string, args ...any) error { return words(fmt.Sprintf(format, args...)) }

type words string

func (w words) Error() string { return string(w) }

func (f field) check(v any) error {
	switch v := v.(type) {
	case string:
		if f.Type == "string" && (f.Enum == nil || slices.Contains(f.Enum, v)) {
			return nil
		}
	case bool:
		if f.Type == "boolean" {
			return nil
		}
	case float64:
		if f.Type == "integer" && v == float64(int64(v)) && (f.Minimum == nil || v >= *f.Minimum) && (f.Maximum == nil || v <= *f.Maximum) {
			return nil
		}
	}
	return fmt.Errorf("invalid value %v, expected %s", v, f.Type)
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

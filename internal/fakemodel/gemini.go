package fakemodel

import (
	"encoding/json"
	"net/http"
)

// gemini answers Google's generateContent, streamed as server-sent events or not.
func (s *Server) gemini(w http.ResponseWriter, body []byte, streamed bool) {
	type declaration struct {
		Name       string `json:"name"`
		Parameters schema `json:"parameters"`
		JSONSchema schema `json:"parametersJsonSchema"`
	}
	var req struct {
		Tools []struct {
			Functions []declaration `json:"functionDeclarations"`
		} `json:"tools"`
		Contents []struct {
			Parts []struct {
				Response *struct {
					Response json.RawMessage `json:"response"`
				} `json:"functionResponse"`
			} `json:"parts"`
		} `json:"contents"`
		Generation struct {
			MimeType string `json:"responseMimeType"`
		} `json:"generationConfig"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		badRequest(w, err)
		return
	}
	var tools []tool
	for _, t := range req.Tools {
		for _, d := range t.Functions {
			sc := d.Parameters
			if len(sc.Properties) == 0 {
				sc = d.JSONSchema
			}
			tools = append(tools, tool{d.Name, sc})
		}
	}
	result, has := "", false
	for _, c := range req.Contents {
		for _, p := range c.Parts {
			if p.Response != nil {
				var r struct {
					Output string `json:"output"`
				}
				if json.Unmarshal(p.Response.Response, &r) != nil || r.Output == "" {
					r.Output = string(p.Response.Response)
				}
				result, has = r.Output, true
			}
		}
	}
	var parts []any
	switch {
	case req.Generation.MimeType == "application/json":
		// A side question with a schema of its own (who speaks next, which model).
		parts = []any{map[string]any{"text": `{"reasoning":"The answer is complete.","next_speaker":"user","model_choice":"flash"}`}}
	default:
		t := s.decide(tools, result, has)
		if t.call != nil {
			parts = []any{map[string]any{"functionCall": map[string]any{"id": "call_1", "name": t.call.name, "args": t.call.args}}}
		} else {
			parts = []any{map[string]any{"text": t.text}}
		}
	}
	answer := map[string]any{
		"candidates": []any{map[string]any{"index": 0, "finishReason": "STOP",
			"content": map[string]any{"role": "model", "parts": parts}}},
		"usageMetadata": map[string]any{"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20},
		"modelVersion":  "fake",
	}
	if !streamed {
		writeJSON(w, answer)
		return
	}
	newStream(w).send("", answer)
}

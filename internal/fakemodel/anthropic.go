package fakemodel

import (
	"encoding/json"
	"net/http"
)

// messages answers Anthropic's messages, streamed or not.
func (s *Server) messages(w http.ResponseWriter, body []byte) {
	var req struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
		Tools  []struct {
			Name        string `json:"name"`
			InputSchema schema `json:"input_schema"`
		} `json:"tools"`
		Messages []struct {
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		badRequest(w, err)
		return
	}
	var tools []tool
	for _, t := range req.Tools {
		tools = append(tools, tool{t.Name, t.InputSchema})
	}
	result, has := "", false
	for _, m := range req.Messages {
		var blocks []struct {
			Type    string          `json:"type"`
			Content json.RawMessage `json:"content"`
		}
		if json.Unmarshal(m.Content, &blocks) != nil {
			continue
		}
		for _, b := range blocks {
			if b.Type == "tool_result" {
				result, has = text(b.Content), true
			}
		}
	}
	t := s.decide(tools, result, has)
	block := map[string]any{"type": "text", "text": t.text}
	stop := "end_turn"
	if t.call != nil {
		block = map[string]any{"type": "tool_use", "id": "toolu_01", "name": t.call.name, "input": t.call.args}
		stop = "tool_use"
	}
	usage := map[string]any{"input_tokens": 10, "output_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
	message := map[string]any{"id": "msg_01", "type": "message", "role": "assistant", "model": req.Model,
		"content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": usage}
	if !req.Stream {
		message["content"], message["stop_reason"] = []any{block}, stop
		writeJSON(w, message)
		return
	}
	out := newStream(w)
	out.send("message_start", map[string]any{"type": "message_start", "message": message})
	delta := func(d map[string]any) {
		out.send("content_block_delta", map[string]any{"type": "content_block_delta", "index": 0, "delta": d})
	}
	if t.call != nil {
		out.send("content_block_start", map[string]any{"type": "content_block_start", "index": 0,
			"content_block": map[string]any{"type": "tool_use", "id": "toolu_01", "name": t.call.name, "input": map[string]any{}}})
		out.send("ping", map[string]any{"type": "ping"})
		args := encode(t.call.args)
		delta(map[string]any{"type": "input_json_delta", "partial_json": args[:len(args)/2]})
		delta(map[string]any{"type": "input_json_delta", "partial_json": args[len(args)/2:]})
	} else {
		out.send("content_block_start", map[string]any{"type": "content_block_start", "index": 0,
			"content_block": map[string]any{"type": "text", "text": ""}})
		for _, p := range pieces(t.text) {
			delta(map[string]any{"type": "text_delta", "text": p})
		}
	}
	out.send("content_block_stop", map[string]any{"type": "content_block_stop", "index": 0})
	out.send("message_delta", map[string]any{"type": "message_delta",
		"delta": map[string]any{"stop_reason": stop, "stop_sequence": nil}, "usage": usage})
	out.send("message_stop", map[string]any{"type": "message_stop"})
}

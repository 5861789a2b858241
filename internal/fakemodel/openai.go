package fakemodel

import (
	"encoding/json"
	"net/http"
)

// chat answers OpenAI's chat completions, streamed or not.
func (s *Server) chat(w http.ResponseWriter, body []byte) {
	var req struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
		Tools  []struct {
			Function struct {
				Name       string `json:"name"`
				Parameters schema `json:"parameters"`
			} `json:"function"`
		} `json:"tools"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		badRequest(w, err)
		return
	}
	var tools []tool
	for _, t := range req.Tools {
		tools = append(tools, tool{t.Function.Name, t.Function.Parameters})
	}
	result, has := "", false
	for _, m := range req.Messages {
		if m.Role == "tool" {
			result, has = text(m.Content), true
		}
	}
	t := s.decide(tools, result, has)
	usage := map[string]any{"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
	message := map[string]any{"role": "assistant", "content": t.text}
	finish := "stop"
	if t.call != nil {
		finish = "tool_calls"
		message["content"] = nil
		message["tool_calls"] = []any{map[string]any{
			"index": 0, "id": "call_1", "type": "function",
			"function": map[string]any{"name": t.call.name, "arguments": encode(t.call.args)},
		}}
	}
	head := func(object string, choice map[string]any) map[string]any {
		choice["index"] = 0
		return map[string]any{"id": "chatcmpl-1", "object": object, "created": 1700000000, "model": req.Model, "choices": []any{choice}}
	}
	if !req.Stream {
		answer := head("chat.completion", map[string]any{"message": message, "finish_reason": finish})
		answer["usage"] = usage
		writeJSON(w, answer)
		return
	}
	const chunk = "chat.completion.chunk"
	out := newStream(w)
	out.send("", head(chunk, map[string]any{"delta": map[string]any{"role": "assistant", "content": ""}, "finish_reason": nil}))
	if t.call != nil {
		out.send("", head(chunk, map[string]any{"delta": map[string]any{"tool_calls": message["tool_calls"]}, "finish_reason": nil}))
	} else {
		for _, p := range pieces(t.text) {
			out.send("", head(chunk, map[string]any{"delta": map[string]any{"content": p}, "finish_reason": nil}))
		}
	}
	last := head(chunk, map[string]any{"delta": map[string]any{}, "finish_reason": finish})
	last["usage"] = usage
	out.send("", last)
	out.send("", "[DONE]")
}

// responses answers OpenAI's responses, streamed or not.
func (s *Server) responses(w http.ResponseWriter, body []byte) {
	var req struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
		Tools  []struct {
			Type       string `json:"type"`
			Name       string `json:"name"`
			Parameters schema `json:"parameters"`
		} `json:"tools"`
		Input json.RawMessage `json:"input"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		badRequest(w, err)
		return
	}
	var tools []tool
	for _, t := range req.Tools {
		if t.Name == "" {
			t.Name = t.Type // local_shell has a type only
		}
		tools = append(tools, tool{t.Name, t.Parameters})
	}
	var items []struct {
		Type   string          `json:"type"`
		Output json.RawMessage `json:"output"`
	}
	json.Unmarshal(req.Input, &items) // a plain string has no results
	result, has := "", false
	for _, it := range items {
		switch it.Type {
		case "function_call_output", "local_shell_call_output", "custom_tool_call_output":
			result, has = text(it.Output), true
		}
	}
	t := s.decide(tools, result, has)
	var item map[string]any
	switch {
	case t.call != nil && t.call.name == "local_shell":
		item = map[string]any{"type": "local_shell_call", "id": "ls_1", "call_id": "call_1", "status": "completed",
			"action": map[string]any{"type": "exec", "command": []string{"bash", "-c", s.Command}, "env": map[string]any{}}}
	case t.call != nil:
		item = map[string]any{"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed",
			"name": t.call.name, "arguments": encode(t.call.args)}
	default:
		item = map[string]any{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
			"content": []any{map[string]any{"type": "output_text", "text": t.text, "annotations": []any{}}}}
	}
	response := func(status string, output []any) map[string]any {
		return map[string]any{"id": "resp_1", "object": "response", "created_at": 1700000000, "status": status, "model": req.Model,
			"output": output, "parallel_tool_calls": false, "tool_choice": "auto", "tools": []any{}, "error": nil, "incomplete_details": nil,
			"usage": map[string]any{"input_tokens": 10, "input_tokens_details": map[string]any{"cached_tokens": 0},
				"output_tokens": 10, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": 20}}
	}
	if !req.Stream {
		writeJSON(w, response("completed", []any{item}))
		return
	}
	out := newStream(w)
	seq := -1
	send := func(kind string, v map[string]any) {
		seq++
		v["type"], v["sequence_number"] = kind, seq
		out.send(kind, v)
	}
	send("response.created", map[string]any{"response": response("in_progress", []any{})})
	open := map[string]any{}
	for k, v := range item {
		open[k] = v
	}
	open["status"] = "in_progress"
	if t.call == nil {
		open["content"] = []any{}
	} else if item["type"] == "function_call" {
		open["arguments"] = ""
	}
	send("response.output_item.added", map[string]any{"output_index": 0, "item": open})
	switch {
	case t.call == nil:
		part := map[string]any{"type": "output_text", "text": "", "annotations": []any{}}
		send("response.content_part.added", map[string]any{"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part})
		for _, p := range pieces(t.text) {
			send("response.output_text.delta", map[string]any{"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": p})
		}
		send("response.output_text.done", map[string]any{"item_id": "msg_1", "output_index": 0, "content_index": 0, "text": t.text})
		part = map[string]any{"type": "output_text", "text": t.text, "annotations": []any{}}
		send("response.content_part.done", map[string]any{"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part})
	case item["type"] == "function_call":
		send("response.function_call_arguments.delta", map[string]any{"item_id": "fc_1", "output_index": 0, "delta": item["arguments"]})
		send("response.function_call_arguments.done", map[string]any{"item_id": "fc_1", "output_index": 0, "arguments": item["arguments"]})
	}
	send("response.output_item.done", map[string]any{"output_index": 0, "item": item})
	send("response.completed", map[string]any{"response": response("completed", []any{item})})
}

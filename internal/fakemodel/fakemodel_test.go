package fakemodel

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestEveryProtocolCallsTheToolThenAnswers(t *testing.T) {
	tests := []struct {
		name, path, first, second string
		call                      string // in the first answer
	}{
		{"chat", "/v1/chat/completions",
			`{"stream":true,"tools":[{"function":{"name":"read"}},{"function":{"name":"bash","parameters":{"properties":{"command":{"type":"string"},"description":{"type":"string"}},"required":["command","description"]}}}],"messages":[{"role":"user","content":"go"}]}`,
			`{"stream":true,"messages":[{"role":"tool","content":"the result"}]}`,
			`\"command\":\"echo hi\"`},
		{"responses", "/v1/responses",
			`{"stream":true,"tools":[{"type":"function","name":"shell","parameters":{"properties":{"command":{"type":"array"}}}}],"input":[]}`,
			`{"stream":true,"input":[{"type":"function_call_output","output":"the result"}]}`,
			`[\"bash\",\"-c\",\"echo hi\"]`},
		{"local shell", "/v1/responses",
			`{"stream":true,"tools":[{"type":"local_shell"}],"input":"go"}`,
			`{"stream":false,"input":[{"type":"local_shell_call_output","output":"the result"}]}`,
			`local_shell_call`},
		{"messages", "/v1/messages?beta=true",
			`{"stream":false,"tools":[{"name":"Bash","input_schema":{"properties":{"command":{"type":"string"}}}}],"messages":[{"content":"go"}]}`,
			`{"stream":true,"messages":[{"content":[{"type":"tool_result","content":[{"type":"text","text":"the result"}]}]}]}`,
			`"command":"echo hi"`},
		{"gemini", "/v1beta/models/m:streamGenerateContent?alt=sse",
			`{"tools":[{"functionDeclarations":[{"name":"run_shell_command","parametersJsonSchema":{"properties":{"command":{"type":"string"}}}}]}],"contents":[]}`,
			`{"contents":[{"parts":[{"functionResponse":{"response":{"output":"the result"}}}]}]}`,
			`"command":"echo hi"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New("echo hi")
			srv := httptest.NewServer(s)
			defer srv.Close()
			post := func(body string) string {
				resp, err := http.Post(srv.URL+tt.path, "application/json", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != 200 {
					t.Fatalf("%d %s", resp.StatusCode, b)
				}
				return string(b)
			}
			if got := post(tt.first); !strings.Contains(got, tt.call) {
				t.Errorf("first turn: %s", got)
			}
			if got := post(tt.second); !strings.Contains(got, "FINAL") || !strings.Contains(got, "result") {
				t.Errorf("second turn: %s", got)
			}
			if s.Asked() != 1 || len(s.Results()) != 1 || s.Results()[0] != "the result" || len(s.Requests()) != 2 {
				t.Errorf("asked %d, results %q", s.Asked(), s.Results())
			}
		})
	}
}

func TestUnknownPathsAreRecorded(t *testing.T) {
	s := New("")
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("GET", "/api/hello", nil))
	if rec.Code != 404 || len(s.Requests()) != 1 || s.Requests()[0].Path != "/api/hello" {
		t.Errorf("%d %v", rec.Code, s.Requests())
	}
}

package har

import "github.com/penstock/penstock/audit"

// The members of HAR 1.2 that are written, in its order and with its names.
type (
	entry struct {
		Started    string   `json:"startedDateTime"`
		Time       float64  `json:"time"` // milliseconds
		Request    request  `json:"request"`
		Response   response `json:"response"`
		Cache      struct{} `json:"cache"`
		Timings    timings  `json:"timings"`
		ServerIP   string   `json:"serverIPAddress,omitempty"`
		Connection string   `json:"connection,omitempty"`
		Comment    string   `json:"comment,omitempty"`

		// Ours.
		ResourceType string `json:"_resourceType,omitempty"` // as Chromium names it
		Session      string `json:"_session"`
		Flow         uint64 `json:"_flow"`
		Verdict      string `json:"_verdict"`
		Mode         string `json:"_mode,omitempty"`
		Rule         string `json:"_rule,omitempty"`
		Reason       string `json:"_reason,omitempty"`
		Via          string `json:"_via,omitempty"`
		ViaAddress   string `json:"_viaAddress,omitempty"`
		Routed       string `json:"_routed,omitempty"` // the hook by whose word it goes that way
		Class        string `json:"_class,omitempty"`
		Error        string `json:"_error,omitempty"`
		Process      uint64 `json:"_process,omitempty"`
		PID          int    `json:"_pid,omitempty"`
		Exe          string `json:"_exe,omitempty"`
		Truncated    bool   `json:"_truncated,omitempty"`

		Hooks []audit.Asked `json:"_hooks,omitempty"` // that did more than let it pass
	}

	request struct {
		Method      string `json:"method"`
		URL         string `json:"url"`
		Version     string `json:"httpVersion"`
		Cookies     []pair `json:"cookies"`
		Headers     []pair `json:"headers"`
		Query       []pair `json:"queryString"`
		HeadersSize int64  `json:"headersSize"` // -1: not known
		BodySize    int64  `json:"bodySize"`

		PostData  *postData `json:"postData,omitempty"`
		Truncated bool      `json:"_truncated,omitempty"`
	}

	postData struct {
		MimeType string `json:"mimeType"`
		Text     string `json:"text"`
		Encoding string `json:"_encoding,omitempty"` // HAR has none here
	}

	response struct {
		Status      int     `json:"status"` // 0: none
		StatusText  string  `json:"statusText"`
		Version     string  `json:"httpVersion"`
		Cookies     []pair  `json:"cookies"`
		Headers     []pair  `json:"headers"`
		Content     content `json:"content"`
		RedirectURL string  `json:"redirectURL"`
		HeadersSize int64   `json:"headersSize"`
		BodySize    int64   `json:"bodySize"`

		Truncated bool `json:"_truncated,omitempty"`
	}

	content struct {
		Size     int64  `json:"size"`
		MimeType string `json:"mimeType"`
		Text     string `json:"text,omitempty"`
		Encoding string `json:"encoding,omitempty"`
		Comment  string `json:"comment,omitempty"`
	}

	// timings in milliseconds.
	timings struct {
		Send    float64 `json:"send"`
		Wait    float64 `json:"wait"`
		Receive float64 `json:"receive"`
	}

	pair struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}

	nameVersion struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
)

// none is a list that has to be there.
var none = []pair{}

package main

import (
	"strings"
	"testing"
)

// TestHeldTo: what is not a call of the description is refused with a message, and what is
// one is refused in another state than its own.
func TestHeldTo(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, body, want string }{
		{"PUT /machine-config", `{"vcpu_count":1,"mem_size_mib":256}`, ""},
		{"PUT /machine-config", `{"vcpu_count":1}`, "missing field `mem_size_mib`"},
		{"PATCH /machine-config", `{"vcpu_count":1}`, ""},
		{"PUT /machine-config", `{"vcpu_count":1,"mem_size_mib":256,"ht_enabled":false}`, "unknown field `ht_enabled`"},
		{"PUT /machine-config", `{"vcpu_count":"1","mem_size_mib":256}`, "field `vcpu_count`: invalid value"},
		{"PUT /machine-config", `{"vcpu_count":33,"mem_size_mib":256}`, "field `vcpu_count`: invalid value"},
		{"PUT /machine-config", `{"vcpu_count":1,"mem_size_mib":256.5}`, "field `mem_size_mib`: invalid value"},
		{"PUT /machine-config", `{"vcpu_count":1,"mem_size_mib":256,"huge_pages":"4M"}`, "field `huge_pages`"},
		{"PUT /boot-source", `{"initrd_path":"/i"}`, "missing field `kernel_image_path`"},
		{"PUT /boot-source", `{"kernel_image_path":1}`, "field `kernel_image_path`"},
		{"PUT /boot-source", `{"kernel_image_path":"/k"} {}`, "deserializing"},
		{"PUT /boot-source", `no json`, "deserializing"},
		{"PUT /vsock", `{"guest_cid":2,"uds_path":"/v"}`, "field `guest_cid`"},
		{"PUT /vsock", `{"guest_cid":3}`, "missing field `uds_path`"},
		{"PUT /actions", `{"action_type":"InstanceHalt"}`, "field `action_type`"},
		{"POST /actions", `{"action_type":"InstanceStart"}`, "Invalid request method and/or path: POST /actions."},
		{"PUT /", `{}`, "Invalid request method and/or path: PUT /."},
		{"GET /", `{}`, "cannot have a body"},
	} {
		_, err := d.check(tt.name, []byte(tt.body), false)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %s: %v, want %q", tt.name, tt.body, err, tt.want)
		}
	}
	m := &machine{}
	start := func() (int, string) { return m.answer(d, "PUT", "/actions", []byte(`{"action_type":"InstanceStart"}`)) }
	if status, text := start(); status != 400 || !strings.Contains(text, "without kernel configuration") {
		t.Errorf("before its boot source: %d %s", status, text)
	}
	m.started = true
	if status, text := start(); status != 400 || !strings.Contains(text, "not supported after starting") {
		t.Errorf("twice: %d %s", status, text)
	}
	for name, body := range map[string]string{
		"/boot-source": `{"kernel_image_path":"/k"}`, "/vsock": `{"guest_cid":3,"uds_path":"/v"}`, "/machine-config": `{"vcpu_count":1,"mem_size_mib":256}`,
	} {
		if status, text := m.answer(d, "PUT", name, []byte(body)); status != 400 || !strings.Contains(text, "fault_message") {
			t.Errorf("%s of a machine that runs: %d %s", name, status, text)
		}
	}
	if status, _ := m.answer(d, "PATCH", "/machine-config", []byte(`{"vcpu_count":1}`)); status != 400 {
		t.Errorf("PATCH of a machine that runs: %d", status)
	}
}

package companion

import (
	"debug/buildinfo"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestBuilt: a program of another name or for another machine is not it.
func TestBuilt(t *testing.T) {
	of := func(path string, settings ...string) *buildinfo.BuildInfo {
		info := &buildinfo.BuildInfo{Path: path}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	p := &Program{Tier: "x", Name: "penstock-x", Package: "example.com/x", Target: "x"}
	for _, tt := range []struct {
		info *buildinfo.BuildInfo
		ok   bool
	}{
		{of(p.Package, "CGO_ENABLED", "0", "GOARCH", runtime.GOARCH, "GOOS", runtime.GOOS), true},
		{of("", "GOARCH", runtime.GOARCH), false},
		{of(p.Package+"/other", "GOARCH", runtime.GOARCH), false},
		{of(p.Package, "GOARCH", "vax", "GOOS", runtime.GOOS), false},
		{of(p.Package, "GOARCH", runtime.GOARCH, "GOOS", "hurd"), false},
	} {
		if err := p.built(tt.info); (err == nil) != tt.ok {
			t.Errorf("%v: %v", tt.info, err)
		}
	}
}

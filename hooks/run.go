package hooks

import "time"

// Run is what a session runs. It is who started the session who chose it.
type Run struct {
	Command []string // clipped as in the audit
	Dir     string   // working directory on the host
	User    string   // name of the user who started it
	Agent   string   // profile in use, "" for none
	Tier    string   // of the sandbox
	Mode    string   // enforce or audit
	End     *End     // where Point is PointSessionEnd
}

// End is how a session has ended.
type End struct {
	ExitCode int
	Signal   string // that ended the command, "" for none
	Reason   string // "exit", "signal", "timeout", ...
	Duration time.Duration
}

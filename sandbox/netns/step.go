package netns

import "fmt"

// Step is one step of building the pen's network, as it stands in errors.
type Step string

// The steps, in the order in which they are taken.
const (
	StepNamespace Step = "create user and network namespace"
	StepReceive   Step = "read configuration"
	StepIPv6      Step = "enable IPv6"
	StepLink      Step = "bring lo up"
	StepRoute     Step = "make every address local"
	StepListen    Step = "open listener"
	StepNftables  Step = "create nftables table"
	StepNAT       Step = "create nat chain"
	StepRules     Step = "add nftables rule"
	StepRedirect  Step = "add redirect rule"
	StepReject    Step = "add reject and log rule"
	StepDrops     Step = "bind log of refused packets"
	StepConnector Step = "start connector"
	StepSend      Step = "hand out sockets"
	StepRoot      Step = "put the pen's root together"
	StepExec      Step = "execute"
)

// stepError is what failed, before anybody has looked for the cause.
type stepError struct {
	Step Step
	Err  error
}

func (e *stepError) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }
func (e *stepError) Unwrap() error { return e.Err }

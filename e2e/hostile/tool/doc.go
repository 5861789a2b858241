// Command tool is the hostile program of the suite in package hostile: it is
// started in a pen, tries what its script says, and reports what it got by
// sending it out, over the one way that the policy leaves open.
//
// Its hazard is failing for a reason of its own and so letting the pen look
// tight: every act is also run where nothing holds it, and has to succeed there.
// It takes no precaution; never start it by hand outside a throw-away namespace.
// Nothing imports it.
package main

// Package hookctl is the conversation in which the proxy role gets processes of
// hooks, which it can't start itself: it asks for one by the hook's name and gets the
// ends of its standard input and output, and later the code with which it ended.
//
// What is asked and answered goes through those ends only: the supervisor hands out
// descriptors and reads no question. The proxy may be in a tool's hands, so all that
// it can have is a process of a hook that the policy names, as many as that may have,
// no sooner after an early end than the supervisor finds right. Under the privileged
// supervisor the other end is a user of the machine whom the proxy does not trust:
// a descriptor that is no pipe is refused.
//
// Only the supervisor and the proxy role import it.
package hookctl

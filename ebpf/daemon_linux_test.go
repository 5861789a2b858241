package ebpf

const daemonRole = "role:test-daemon"

func daemonMain([]string) int { return 0 }

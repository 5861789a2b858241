package netns

const toolRole = "role:test-tool"

func toolMain(args []string) int { return 0 }

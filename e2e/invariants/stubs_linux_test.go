package invariants

func exitTool(args []string) int     { return 0 }
func trapTool(args []string) int     { return 0 }
func terminalTool(args []string) int { return 0 }

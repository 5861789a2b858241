package hostile

func sessions() []attempt { return nil }

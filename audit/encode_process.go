package audit

func (l *line) process(e *Process) {
	l.str("action", e.Action, maxName)
	l.count("process", e.Number)
	l.count("parent", e.Parent)
	l.int("pid", e.PID)
	l.optInt("ppid", e.PPID)
	if (e.Number != 0 || e.Start != 0) && e.UID >= 0 {
		l.int("uid", e.UID)
	}
	l.count("start_ns", e.Start)
	l.str("exe", e.Exe, maxText)
	if e.Ino != 0 {
		l.device("dev", e.Dev)
		l.uint("ino", e.Ino)
	}
	l.str("sha256", e.SHA256, maxName)
	l.list("argv", e.Argv)
	l.str("cgroup", e.Cgroup, maxText)
	if e.Shared {
		l.key("shared")
		l.buf = append(l.buf, "true"...)
	}
	l.str("said_by", e.SaidBy, maxName)
	if e.Action == "exit" {
		l.int("exit_code", e.ExitCode)
		l.str("signal", e.Signal, maxName)
		if e.OOM {
			l.key("oom")
			l.buf = append(l.buf, "true"...)
		}
		l.count("connections", e.Connections)
		l.count("refusals", e.Refusals)
	}
}

func (l *line) access(e *Access) {
	l.str("path", e.Path, maxPath)
	if e.Write {
		l.key("write")
		l.buf = append(l.buf, "true"...)
	}
	l.str("error", e.Error, maxName)
	l.count("process", e.Process)
	l.optInt("pid", e.PID)
	l.str("exe", e.Exe, maxText)
	l.str("said_by", e.SaidBy, maxName)
}

func (l *line) exec(e *Exec) {
	l.str("action", e.Action, maxName)
	l.uint("exec", e.Exec)
	if len(e.Argv) > 0 {
		l.list("argv", e.Argv)
	}
	l.str("dir", e.Dir, maxPath)
	l.optInt("pid", e.By)
	if e.Action == "end" {
		l.int("exit_code", e.ExitCode)
		l.duration("duration_us", e.Duration)
	}
	l.str("reason", e.Reason, maxText)
	l.hooks(e.Hooks)
}

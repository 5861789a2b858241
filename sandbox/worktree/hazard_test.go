package worktree

import "testing"

// TestHazards: what the host executes later, by name and kind.
func TestHazards(t *testing.T) {
	for _, c := range []struct {
		path, mode, link, want string
	}{
		{path: ".husky/pre-commit", want: "git hook"},
		{path: "web/.husky/_/pre-push", want: "git hook"},
		{path: ".githooks/post-merge", want: "git hook"},
		{path: "scripts/hooks/pre-commit", want: "git hook"}, // core.hooksPath
		{path: ".pre-commit-config.yaml", want: "git hook"},
		{path: "lefthook.yml", want: "git hook"},
		{path: ".gitattributes", want: "git configuration"},
		{path: "lib/.gitmodules", want: "git configuration"},
		{path: ".penstock.yaml", want: "Penstock policy"},
		{path: ".github/workflows/ci.yml", want: "CI"},
		{path: ".gitlab-ci.yml", want: "CI"},
		{path: "Jenkinsfile", want: "CI"},
		{path: ".vscode/tasks.json", want: "editor task"},
		{path: "a/b/.idea/workspace.xml", want: "editor task"},
		{path: ".VSCODE/tasks.json", want: "editor task"},
		{path: "x.code-workspace", want: "editor task"},
		{path: ".devcontainer/devcontainer.json", want: "development container"},
		{path: ".claude/settings.json", want: "agent configuration"},
		{path: "CLAUDE.md", want: "agent configuration"},
		{path: ".mcp.json", want: "agent configuration"},
		{path: ".envrc", want: "shell start"},
		{path: "home/.bashrc", want: "shell start"},
		{path: "mise.toml", want: "tool version"},
		{path: ".tool-versions", want: "tool version"},
		{path: "package.json", want: "package script"},
		{path: "packages/a/package.json", want: "package script"},
		{path: ".npmrc", want: "package script"},
		{path: "Makefile", want: "build file"},
		{path: "sub/GNUmakefile", want: "build file"},
		{path: "build.rs", want: "build file"},
		{path: "setup.py", want: "build file"},
		{path: "tests/conftest.py", want: "build file"},
		{path: "build.gradle.kts", want: "build file"},
		{path: "gradle/wrapper/gradle-wrapper.jar", want: "build file"},
		{path: ".cargo/config.toml", want: "build file"},
		{path: "Dockerfile", want: "container build"},
		{path: "docker-compose.override.yml", want: "container build"},
		{path: "main.tf", want: "deployment"},
		{path: "x.desktop", want: "desktop"},
		{path: "bin/run.sh", want: "script"},
		{path: "tool", mode: modeProgram, want: "program"},
		{path: "out", mode: modeLink, link: "/etc/passwd", want: "symbolic link"},
		{path: "a/out", mode: modeLink, link: "../../x", want: "symbolic link"},
		{path: "a/git", mode: modeLink, link: "../.git/hooks", want: "symbolic link"},
		{path: "a/in", mode: modeLink, link: "../b"},
		{path: ".vscode", mode: modeLink, link: "x", want: "editor task"},
		{path: "lib", mode: modeModule, want: "submodule"},
		{path: "main.go"},
		{path: "README.md"},
		{path: "docs/makefile-notes.txt"},
	} {
		if c.mode == "" {
			c.mode = "100644"
		}
		z, ok := hazardOf(&Change{Path: c.path, Mode: c.mode, OldMode: modeNone, Link: c.link}, []string{"scripts/hooks"})
		if z.Kind != c.want || ok != (c.want != "") || ok && (z.Why == "" || z.Path != c.path) {
			t.Errorf("%s: %+v, want %q", c.path, z, c.want)
		}
	}
}

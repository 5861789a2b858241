package worktree

import (
	"path"
	"strings"
)

// Hazard is a changed file that the host executes or obeys later.
type Hazard struct {
	Path string `json:"path"` // as git has it, unescaped
	Kind string `json:"kind"` // e.g. "git hook"
	Why  string `json:"why"`  // what executes it, and when
}

// known is one kind of file by its name.
type known struct {
	kind, why string
	names     []string // path.Match patterns of the last part, lower case
	dirs      []string // patterns of a directory anywhere above, of one or two parts
}

// hazards are the kinds, the first that fits counts. Names are compared in lower
// case: some hosts' file systems do.
func hazards() []known {
	return []known{
		{kind: "git hook", why: "git runs it at commits, checkouts, merges", dirs: []string{".githooks", ".husky", "git-hooks", "githooks", ".hooks", ".git/hooks"}, names: []string{".huskyrc", ".huskyrc.*", "husky.config.*"}},
		{kind: "git hook", why: "the hook runner runs what it names", names: []string{".pre-commit-config.y*ml", ".pre-commit-hooks.y*ml", "lefthook.*", ".lefthook.*", "lefthook-local.*", ".lefthook-local.*", ".overcommit.yml", "captain*hook*.json", ".lintstagedrc*", "lint-staged.config.*", ".simple-git-hooks.*", "simple-git-hooks.*"}, dirs: []string{".lefthook", ".overcommit"}},
		{kind: "git configuration", why: "git picks filters, merge drivers and submodules by it", names: []string{".gitattributes", ".gitmodules", ".lfsconfig", ".gitconfig", "gitconfig"}},
		{kind: "Penstock policy", why: "it says what the next pen may do, once you trust it", names: []string{".penstock.yaml", ".penstock.yml"}},
		{kind: "CI", why: "the forge or a CI service runs it, with its secrets", dirs: []string{".github/workflows", ".github/actions", ".gitlab/ci", ".gitlab-ci", ".circleci", ".buildkite", ".woodpecker", ".teamcity", ".azure-pipelines", ".azuredevops", ".forgejo/workflows", ".gitea/workflows", ".tekton", ".semaphore", ".builds", ".ci"},
			names: []string{".gitlab-ci.y*ml", "*.gitlab-ci.y*ml", ".travis.yml", "jenkinsfile", "jenkinsfile.*", "*.jenkinsfile", "azure-pipelines*.y*ml", "bitbucket-pipelines.yml", ".drone.y*ml", ".drone.star", "appveyor.yml", ".appveyor.yml", ".cirrus.y*ml", ".cirrus.star", "buildspec*.y*ml", "cloudbuild*.y*ml", ".woodpecker.y*ml", "wercker.yml", "codemagic.yaml", "bitrise.yml", "action.yml", "action.yaml", ".build.yml", "codefresh.yml", "renovate.json*", ".renovaterc*", "dependabot.y*ml", "codeowners"}},
		{kind: "editor task", why: "the editor runs tasks, settings and extensions of it when the folder is opened", dirs: []string{".vscode", ".idea", ".zed", ".fleet", ".nvim", ".vs", ".settings", ".run", ".sublime"}, names: []string{"*.code-workspace", "*.sublime-project", ".exrc", ".nvimrc", ".nvim.lua", ".vimrc", ".lvimrc", ".dir-locals*.el", ".projectile", "*.iml", ".emacs", ".vim", "*.code-tasks"}},
		{kind: "development container", why: "the editor builds and starts it", dirs: []string{".devcontainer"}, names: []string{"devcontainer.json", ".devcontainer.json", ".gitpod.y*ml", ".gitpod.dockerfile", "devfile.yaml", ".replit", "replit.nix", ".idx"}},
		{kind: "agent configuration", why: "an agent on the host takes hooks, servers, commands and instructions from it", dirs: []string{".claude", ".cursor", ".opencode", ".codex", ".gemini", ".continue", ".aider", ".windsurf", ".roo", ".clinerules", ".kiro", ".amazonq", ".github/instructions", ".github/prompts", ".github/chatmodes", ".agents"},
			names: []string{".mcp.json", "mcp.json", "opencode.json*", ".aider.conf.yml", ".aider*", "agents.md", "agents.override.md", "claude.md", "claude.local.md", "gemini.md", "skill.md", ".cursorrules", ".windsurfrules", ".clinerules", ".goosehints", "copilot-instructions.md"}},
		{kind: "shell start", why: "a shell or direnv runs it when the directory is entered", names: []string{".envrc", ".envrc.*", ".direnvrc", ".env", ".env.*", ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".kshrc", "config.fish", ".inputrc", ".autoenv*", ".in", ".out", ".tmux.conf", ".screenrc", ".profile.d"}},
		{kind: "tool version", why: "the version manager fetches and runs what it names, or runs its tasks", names: []string{"mise.toml", ".mise.toml", "mise.*.toml", ".mise.*.toml", ".tool-versions", ".rtx.toml", "rust-toolchain", "rust-toolchain.toml", ".nvmrc", ".node-version", ".python-version", ".ruby-version", ".java-version", ".sdkmanrc", ".terraform-version", ".go-version", "go.work", "devbox.json", "flake.nix", "flake.lock", "shell.nix", "default.nix", "devenv.nix", "devenv.yaml", ".flox"}, dirs: []string{".mise", "mise/tasks", ".mise/tasks", ".devbox"}},
		{kind: "package script", why: "the package manager runs its scripts at install and by name", names: []string{"package.json", "package.json5", "package.yaml", "deno.json", "deno.jsonc", "bunfig.toml", "composer.json", "composer.lock", ".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pnpm-workspace.yaml", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb", "deno.lock", "lerna.json", "nx.json", "turbo.json", "rush.json", ".ncurc*", "binding.gyp"}, dirs: []string{".yarn", ".npm"}},
		{kind: "build file", why: "building or testing runs it", dirs: []string{".cargo", ".mvn", "gradle", "gradle/wrapper", "buildsrc", "build-logic", ".config/nextest", ".bundle"}, names: []string{
			"makefile", "gnumakefile", "bsdmakefile", "makefile.*", "*.mk", "*.mak", "cmakelists.txt", "*.cmake", "cmakepresets.json", "cmakeuserpresets.json", "meson.build", "meson_options.txt", "configure", "configure.ac", "configure.in", "autogen.sh", "bootstrap", "bootstrap.sh", "justfile", ".justfile", "*.just", "taskfile.y*ml", "taskfile.dist.y*ml", "magefile.go", "ninja.build", "build.ninja", "sconstruct", "sconscript", "wscript", "waf", "build.sh", "dodo.py", "noxfile.py", "tasks.py", "fabfile.py", "invoke.y*ml", "snakefile",
			"build.rs", "cargo.toml", "cargo.lock", "build.zig", "build.zig.zon", "setup.py", "setup.cfg", "pyproject.toml", "conftest.py", "tox.ini", "pytest.ini", "sitecustomize.py", "usercustomize.py", "*.pth", "manage.py", "pip.conf", "requirements*.txt", "constraints*.txt", "pipfile", "pipfile.lock", "poetry.lock", "uv.lock", "uv.toml", "hatch.toml", "pixi.toml", "environment.yml",
			"build.gradle", "build.gradle.kts", "settings.gradle*", "init.gradle*", "*.gradle", "*.gradle.kts", "gradle.properties", "gradlew", "gradlew.bat", "pom.xml", "mvnw", "mvnw.cmd", "build.xml", "build.sbt", "*.sbt", "build.sc", "build.mill", "workspace", "workspace.bazel", "module.bazel", "build.bazel", "build", "*.bzl", ".bazelrc", "bazelisk*", ".bazeliskrc", "buck", ".buckconfig", "pants.toml", "earthfile",
			"rakefile", "*.rake", "gemfile", "gemfile.lock", "*.gemspec", ".rspec", "vagrantfile", "guardfile", "fastfile", "podfile", "package.swift", "dangerfile*", "mix.exs", "rebar.config", "project.clj", "deps.edn", "stack.yaml", "*.cabal", "cabal.project", "dune-project", "*.csproj", "*.fsproj", "*.vbproj", "*.vcxproj", "*.targets", "*.props", "nuget.config", "global.json", "go.mod", "tools.go", ".goreleaser.y*ml", ".golangci.y*ml",
			"gulpfile.*", "gruntfile.*", "webpack.config.*", "webpack.*.js", "vite.config.*", "vitest.config.*", "rollup.config.*", "jest.config.*", "jest.setup.*", "babel.config.*", ".babelrc*", "next.config.*", "nuxt.config.*", "svelte.config.*", "astro.config.*", "tailwind.config.*", "postcss.config.*", ".postcssrc*", "eslint.config.*", ".eslintrc*", ".prettierrc*", "prettier.config.*", "stylelint.config.*", ".stylelintrc*", "metro.config.*", "karma.conf.*", "playwright.config.*", "cypress.config.*", "tsup.config.*", "esbuild.*", "craco.config.*", "commitlint.config.*", ".commitlintrc*", "release.config.*", ".releaserc*", "angular.json", "vue.config.*", "wdio.conf.*", ".mocharc*", "ava.config.*", "tsconfig*.json"}},
		{kind: "container build", why: "building or starting containers runs it", names: []string{"dockerfile", "dockerfile.*", "*.dockerfile", "containerfile", "containerfile.*", "docker-compose*.y*ml", "compose.y*ml", "compose.*.y*ml", "docker-bake.*", "skaffold.yaml", "tiltfile", "procfile*", ".dockerignore", "garden.y*ml", "okteto.y*ml"}},
		{kind: "deployment", why: "deploying applies it, with your credentials", names: []string{"*.tf", "*.tfvars", "*.tf.json", ".terraformrc", "*.hcl", "pulumi*.yaml", "cdk.json", "serverless.y*ml", "serverless.ts", "samconfig.toml", "template.yaml", "ansible.cfg", "playbook*.y*ml", "site.yml", "helmfile.y*ml", "kustomization.y*ml", "chart.yaml", "wrangler.toml", "wrangler.json*", "fly.toml", "vercel.json", "netlify.toml", "firebase.json", "app.yaml", "railway.*", "heroku.yml", "sentry.properties"}},
		{kind: "desktop", why: "the desktop or the service manager runs it", names: []string{"*.desktop", "*.service", "*.timer", "*.socket", "*.plist", "*.command", "*.lnk", "*.url", "desktop.ini", "autorun.inf", ".directory"}},
		{kind: "script", why: "it is run by name", names: []string{"*.sh", "*.bash", "*.zsh", "*.fish", "*.ps1", "*.bat", "*.cmd"}},
	}
}

// hazardOf says what the host would do with a changed file; ok is false if nothing
// is known. hooks are directories of hooks that the repository's configuration
// names, relative to its top.
func hazardOf(c *Change, hooks []string) (Hazard, bool) {
	lower := strings.ToLower(c.Path)
	for _, h := range hooks {
		if lower == h || strings.HasPrefix(lower, strings.ToLower(h)+"/") {
			return Hazard{c.Path, "git hook", "core.hooksPath leads there: git runs it"}, true
		}
	}
	switch {
	case c.Mode == modeLink && leadsOut(c.Path, c.Link):
		return Hazard{c.Path, "symbolic link", "it leads out of the repository: whoever writes to it or reads it is elsewhere"}, true
	case c.Mode == modeModule:
		return Hazard{c.Path, "submodule", "git submodule update fetches and checks out what it names"}, true
	}
	return HazardOf(c.Path, c.Mode == modeProgram && c.OldMode != modeProgram)
}

// HazardOf says what the host would do with a file of a name; program says that it can
// be executed, which it could not be before.
func HazardOf(name string, program bool) (Hazard, bool) {
	parts := strings.Split(strings.ToLower(name), "/")
	for _, k := range hazards() {
		if k.fits(parts) {
			return Hazard{name, k.kind, k.why}, true
		}
	}
	if program {
		return Hazard{name, "program", "it can be executed now"}, true
	}
	return Hazard{}, false
}

func (k *known) fits(parts []string) bool {
	last := parts[len(parts)-1]
	for _, n := range k.names {
		if ok, _ := path.Match(n, last); ok {
			return true
		}
	}
	for _, d := range k.dirs {
		want := strings.Split(d, "/")
		for i := 0; i+len(want) < len(parts); i++ {
			if strings.Join(parts[i:i+len(want)], "/") == d {
				return true
			}
		}
		// A file or link of the directory's own name may become it.
		if strings.HasSuffix("/"+strings.Join(parts, "/"), "/"+d) {
			return true
		}
	}
	return false
}

// leadsOut says whether a symbolic link's text leads out of the repository, or
// into its .git.
func leadsOut(name, text string) bool {
	if path.IsAbs(text) {
		return true
	}
	p := path.Join(path.Dir(name), text)
	first, _, _ := strings.Cut(strings.ToLower(p), "/")
	return p == ".." || strings.HasPrefix(p, "../") || first == ".git"
}

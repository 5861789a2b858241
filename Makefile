# Penstock. `make` alone lists the targets. Needs Go and git; `make demo` and
# `make test` install bubblewrap by apt-get when it is missing, and root's
# `make test` also the programs that the tests drive.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX  ?= /usr/local
DESTDIR ?=
BIN     := bin/penstock
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null || echo 0.1.0-dev+$$(git rev-parse --short HEAD 2>/dev/null || echo unknown))
LDFLAGS := -s -w -X github.com/penstock/penstock/internal/version.version=$(VERSION)

# One static binary: no C library, no paths of the machine that built it. Tests
# are built alike: some of them are the roles they test.
export CGO_ENABLED := 0
# The patch release that go.mod names, fetched like a module: an older one of the
# same Go has known holes in the HTTP server that faces the pens.
export GOTOOLCHAIN ?= auto
GOBUILD := go build -trimpath -buildvcs=false
GOTEST  := go test -trimpath -buildvcs=false -count=1 -timeout 10m
# Linters have a module of their own, so that they never enter go.mod.
TOOL    := go tool -modfile=$(CURDIR)/.ci/tools.mod

PKGS     ?= ./...
# The tests that need the whole binary take this one.
export PENSTOCK_BIN := $(CURDIR)/$(BIN)
FUZZTIME ?= 60s
BENCH    ?= .

.PHONY: help build gvisor test root bench fuzz generate lint demo install package image clean bubblewrap

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/penstock, one static binary
	@mkdir -p bin
	$(GOBUILD) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/penstock
	@chmod 0755 $(BIN) # the proxy role of a root's pen is nobody, whatever the umask

gvisor: ## build bin/penstock-gvisor and bin/penstock-microvm, for those tiers
	@mkdir -p bin
	cd gvisor && $(GOBUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o $(CURDIR)/bin/penstock-gvisor .
	cd gvisor && $(GOBUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o $(CURDIR)/bin/penstock-microvm ./microvm
	@chmod 0755 bin/penstock-gvisor bin/penstock-microvm

test: bubblewrap build gvisor ## run all tests as you and, if you are root, as an ordinary user too
	@failed=0; all=; [ "$(PKGS)" != ./... ] || all=1; \
	if [ "$$all" ] && [ "$$(id -u)" = 0 ]; then .ci/install || echo "not everything could be installed"; fi; \
	$(GOTEST) $(PKGS) || failed=1; \
	[ -z "$$all" ] || (cd gvisor && $(GOTEST) ./...) || failed=1; \
	if [ "$$(id -u)" = 0 ]; then .ci/as-user $(PKGS) || failed=1; \
	else echo "tested as $$(id -un); \"make root\" runs the tests that need root"; fi; \
	[ -z "$$all" ] || .ci/install missing || true; \
	exit $$failed

root: bubblewrap build gvisor ## run all tests as root, by sudo if need be
	@if [ "$$(id -u)" = 0 ]; then $(GOTEST) $(PKGS); \
	else sudo env CGO_ENABLED=0 "PATH=$$PATH" "PENSTOCK_BIN=$$PENSTOCK_BIN" "GOMODCACHE=$$(go env GOMODCACHE)" "GOFLAGS=$$(go env GOFLAGS)" $(GOTEST) $(PKGS); fi

bench: bubblewrap build gvisor ## measure beside references: sessions, proxy, then Go benchmarks (BENCH=regexp)
	@mkdir -p dist
	go build -trimpath -buildvcs=false -o dist/ ./internal/sessionbench ./internal/bench
	dist/sessionbench -penstock $(BIN)
	dist/bench
	go test -trimpath -buildvcs=false -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m $(PKGS)

fuzz: ## run each fuzz target for FUZZTIME (60s)
	.ci/fuzz $(FUZZTIME)

generate: ## write again what is generated (manual pages, schemas, eBPF objects, protocol buffers)
	go generate ./...
	.ci/bpf
	.ci/proto

lint: ## gofmt, vet for three systems, staticcheck, shellcheck, architecture rules
	@unformatted=$$(git ls-files '*.go' | xargs -r gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	go vet $(PKGS)
	GOOS=darwin go vet $(PKGS)
	GOOS=windows go vet $(PKGS)
	cd gvisor && go vet ./...
	$(TOOL) staticcheck $(PKGS)
	go test -count=1 ./internal/lint/...
	.ci/shellcheck

demo: bubblewrap build ## build, install what is missing, and show the main job, offline
	$(BIN) demo

install: build gvisor ## install binary, manual pages and completions under PREFIX (/usr/local)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/penstock
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/libexec/penstock bin/penstock-gvisor bin/penstock-microvm
	for page in docs/man/*.1; do install -D -m 0644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man1/$${page##*/}"; done
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BIN) completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/penstock
	$(BIN) completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_penstock
	$(BIN) completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/penstock.fish

package: ## make .deb, .rpm, .apk and tarball in dist/, the same bytes each time
	VERSION='$(VERSION)' packaging/build

image: ## make a container image in dist/ without an engine, the same bytes each time
	VERSION='$(VERSION)' packaging/image

clean: ## remove what build made
	rm -rf bin dist

bubblewrap:
	@.ci/bubblewrap

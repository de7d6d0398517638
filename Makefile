# The two commands of the README are "make demo" and "make test".

SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOLANGCI_VERSION := v2.15.0
CACHE := $(CURDIR)/.cache
GOLANGCI := $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)
# How long each fuzz target runs.
T ?= 30s
# What to measure: a regular expression; with which proxies: a list with commas; how often each.
B ?=
P ?=
N ?= 3

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build image site setup fmt vet lint unit e2e e2e-clean test fuzz bench demo demo-down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

build: site ## build the static binary bin/ruche (and bin/site, the demo's web site)
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ruche ./cmd/ruche

image: build ## build the image "ruche" (FROM scratch) with the Docker Engine that runs here
	@DOCKER_BUILDKIT=0 docker build --quiet --tag ruche --file deploy/Dockerfile bin

site:
	@go build -trimpath -ldflags '-s -w' -o bin/site ./deploy/site

setup: ## install what tests and demo need (Debian packages; root)
	@scripts/setup

fmt: ## check that the code is formatted
	@files=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$files" ]; then echo "error: not formatted: $$files"; echo 'hint: run "gofmt -w" on them'; exit 1; fi

vet: ## run go vet
	@go vet ./...
	@go vet -tags e2e ./e2e/...

$(GOLANGCI):
	@mkdir -p $(CACHE)/bin
	@echo "building golangci-lint $(GOLANGCI_VERSION) (once)"
	@GOBIN=$(CACHE)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(CACHE)/bin/golangci-lint $@

lint: $(GOLANGCI) ## run golangci-lint
	@$(GOLANGCI) run --build-tags e2e ./...

# The slow packages wait most of the time, for elections and timeouts, so two for each processor run at once.
unit: ## run the unit tests with the race detector
	@CGO_ENABLED=1 go test -race -p $$((2 * $$(nproc))) ./...

e2e: build ## run the scenarios on real Docker Engines (root); R=regexp chooses
	@scripts/e2e $(if $(R),-run '$(R)')

e2e-clean: ## take away what killed scenarios left behind
	@go run ./e2e/lab/cmd/lab clean

test: ## run everything: setup, format, lint (which vets, too), unit, scenarios, the demo
	@scripts/test

fuzz: ## run each fuzz target for T (30s)
	@scripts/fuzz $(T)

bench: build ## measure Ruche beside its peers; B=regexp, P=peers and N=rounds choose; B=Name runs Go benchmarks
	@scripts/bench '$(B)' '$(P)' '$(N)'

demo: ## start Ruche and three small sites here; HTTP_PORT and HTTPS_PORT choose other ports
	@scripts/demo up

demo-down: ## remove all that the demo started
	@scripts/demo down

clean: ## remove what was built
	@rm -rf bin e2e/artifacts

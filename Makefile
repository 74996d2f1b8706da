# Everything that the project needs is installed below by exact version, into
# bin/ and .venv/. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION       ?= v0.1.0-dev
GOLANGCI      := v2.12.2
KUBERNETES    := v1.36.3
PYTHON        ?= python3
GO            ?= go
BIN           := $(CURDIR)/bin
VENV          := $(CURDIR)/.venv
COORDINATOR   := $(BIN)/coordinator
LAB           := $(BIN)/lab
BENCH         := $(BIN)/bench
KEEP          ?=
RUN           ?= .
CASES         ?= default
RUNS          ?= 1
N             ?= 200
SEED          ?= 1
export GOFLAGS := -buildvcs=false
export GOTOOLCHAIN := local

GO_FILES      := $(shell find cmd pkg -name '*.go' 2>/dev/null) go.mod go.sum
BENCH_FILES   := $(shell find bench pkg/planner/packing -name '*.go' -o -name '*.csv' 2>/dev/null) go.mod bench/go.mod bench/go.sum
LAB_FILES     := $(shell find lab pkg -name '*.go' 2>/dev/null) go.mod lab/go.mod lab/go.sum

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: preflight
preflight: ## Name what is missing on this machine, before anything is built
	@ok=1; \
	need() { echo "missing: $$1" >&2; ok=0; }; \
	command -v $(GO) >/dev/null || need "Go 1.26 or newer (https://go.dev/dl)"; \
	if command -v $(GO) >/dev/null; then \
	  v=$$(GOTOOLCHAIN=local $(GO) env GOVERSION | sed 's/^go//'); \
	  printf '1.26\n%s\n' "$$v" | sort -V -C || need "Go 1.26 or newer: this is $$v"; fi; \
	command -v $(PYTHON) >/dev/null || need "Python 3.10 or newer"; \
	if command -v $(PYTHON) >/dev/null; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || need "Python 3.10 or newer: this is $$($(PYTHON) -V 2>&1) (set PYTHON=...)"; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || need "Python's venv module (Debian: the package python3-venv)"; fi; \
	[ "$$(uname -s)" = Linux ] || need "Linux: the lab runs Ray's processes on loopback addresses that other systems do not have"; \
	free=$$(df -Pk . | awk 'NR==2{print int($$4/1048576)}'); [ "$$free" -ge 8 ] || need "8 GiB of free disk here (there are $$free)"; \
	[ $$ok = 1 ] || { echo "Install what is missing and run make again." >&2; exit 1; }

$(COORDINATOR): $(GO_FILES) | preflight
	@echo "== building the coordinator"
	$(GO) build -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/coordinator

$(LAB): $(LAB_FILES) lab/assets.sh | preflight
	@echo "== building the lab: a Kubernetes control plane, Cluster API and KubeRay (the first time takes 6 to 12 minutes on 2 cores)"
	cd lab && $(GO) build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36" -o $@ .
	lab/assets.sh $(BIN)/assets

$(BENCH): $(BENCH_FILES) | preflight
	@echo "== building the comparison with Karpenter (the first time takes 1 to 3 minutes on 2 cores)"
	cd bench && $(GO) build -p 2 -o $@ .

$(VENV)/.installed: lab/requirements.txt | preflight
	@echo "== installing Ray into .venv"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r lab/requirements.txt
	touch $@

$(BIN)/golangci-lint-$(GOLANGCI): | preflight
	@echo "== building golangci-lint $(GOLANGCI) (once, about 5 minutes)"
	mkdir -p $(BIN)
	GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(BIN)/golangci-lint $@

.PHONY: build lab ray
build: $(COORDINATOR) ## Build bin/coordinator
lab: $(LAB) ## Build bin/lab, the local control plane
ray: $(VENV)/.installed ## Install Ray into .venv

.PHONY: demo
demo: $(COORDINATOR) $(LAB) $(VENV)/.installed ## Run the main job on real parts (KEEP=1 leaves it open)
	$(LAB) run lab/scenarios/demo.yaml --coordinator $(COORDINATOR) --venv $(VENV) --report $(BIN)/demo.json $(if $(KEEP),--keep)
	@echo "The report is bin/demo.json. To keep the lab open afterwards, and poke at it with kubectl and a Python driver: make demo KEEP=1"

.PHONY: lint lint-bench lint-lab unit check
lint: $(BIN)/golangci-lint-$(GOLANGCI) ## Lint the root module
	$(BIN)/golangci-lint-$(GOLANGCI) run ./...

lint-bench: $(BIN)/golangci-lint-$(GOLANGCI) ## Lint the comparison with Karpenter
	cd bench && $(BIN)/golangci-lint-$(GOLANGCI) run --config ../.golangci.yml --timeout 30m ./...

lint-lab: $(BIN)/golangci-lint-$(GOLANGCI) ## Lint the lab (minutes the first time: it depends on all of Kubernetes)
	cd lab && $(BIN)/golangci-lint-$(GOLANGCI) run --config ../.golangci.yml --build-tags e2e --timeout 30m ./...

unit: | preflight ## Unit and property tests of the root module
	$(GO) test -timeout 10m ./...

check: build lint unit ## The fast loop: build, lint, unit tests


CHECKS        ?= 1000000

.PHONY: soak
soak: | preflight ## The planner's rules on CHECKS generated worlds for each property (a million of each takes hours)
	$(GO) test -count=1 -timeout 0 -run 'Rules|ScaleFree|RestStillFits|MoreDemand|PlansAreBounded|Share|NobodyStarves|EveryRemovalComesBack|Hosts' ./pkg/planner -rapid.checks=$(CHECKS)

.PHONY: unit-lab integration figures e2e chaos by-name test test-ray generate clean
unit-lab: $(LAB) $(VENV)/.installed
	cd lab && LAB_BINARY=$(LAB) LAB_ASSETS=$(BIN)/assets LAB_VENV=$(VENV) $(GO) test -vet=off -count=1 -p 1 -timeout 30m $$($(GO) list ./... | grep -v /e2e)

integration: $(LAB) ## Tests of the adapters against a real API server
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && for n in etcd kube-apiserver kubectl; do ln -s $(LAB) $$dir/$$n; done && \
	KUBEBUILDER_ASSETS=$$dir $(GO) test -count=1 -timeout 10m ./pkg/capi/...

e2e: $(COORDINATOR) $(LAB) $(VENV)/.installed ## End-to-end scenarios on real parts (RUN=regexp picks some)
	cd lab && LAB_BINARY=$(LAB) COORDINATOR_BINARY=$(COORDINATOR) LAB_VENV=$(VENV) $(GO) test -vet=off -tags e2e -count=1 -parallel 12 -timeout 60m -v -run '$(RUN)' ./e2e

chaos: $(COORDINATOR) $(LAB) $(VENV)/.installed ## Real Ray under random faults: make chaos N=200 SEED=1
	$(LAB) chaos --n $(N) --seed $(SEED) --coordinator $(COORDINATOR) --venv $(VENV) --report $(BIN)/chaos.json

by-name: $(COORDINATOR) $(LAB) $(VENV)/.installed ## Ten Machines, one idle: exactly that one goes, 20 times of 20
	$(LAB) run lab/scenarios/p-by-name.yaml --coordinator $(COORDINATOR) --venv $(VENV) --report $(BIN)/by-name.json

figures: $(COORDINATOR) $(LAB) $(VENV)/.installed ## Measure: demand visible in the GCS to MachineDeployment patched, 24 waves
	$(LAB) run lab/scenarios/figures/waves.yaml --coordinator $(COORDINATOR) --venv $(VENV) --report $(BIN)/waves.json
	$(PYTHON) lab/scenarios/figures/waves.py $(BIN)/waves.json

test-ray: $(VENV)/.installed ## Compare the model of Ray's scheduler with the real one, 1,000 inputs (about a minute)
	TANDEM_RAY_PYTHON=$(VENV)/bin/python $(GO) test -count=1 -timeout 30m -v -run 'AgainstRay|RecordedCases' ./pkg/planner/rayv2

.PHONY: bench unit-bench
bench: $(BENCH) ## Karpenter's packing and ours on the same pods (CASES=all for the large ones, RUNS=n)
	$(BENCH) --cases '$(CASES)' --runs $(RUNS)

unit-bench: | preflight ## Unit tests of the comparison with Karpenter
	cd bench && $(GO) test -count=1 -timeout 10m ./...

test: unit unit-lab unit-bench integration test-ray e2e ## Everything, end-to-end included

generate: | preflight ## Regenerate docs/faults.md and the protobuf code
	$(GO) run ./docs/faults
	pkg/demand/gcs/generate.sh

clean: ## Remove everything that was built or installed
	rm -rf $(BIN) $(VENV) .venv-gen

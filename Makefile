# Two commands are enough: `make run` and `make test`. Everything that they need is installed or built by them.
SHELL   := /bin/bash
VERSION := 1.0.0
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
HOME_DIR ?= $(CURDIR)
# Options of `make run`, for example ARGS="-receiverNode -DportOffset=1".
ARGS ?=

GO_SOURCES = $(shell git ls-files -co --exclude-standard '*.go' '*.mod' '*.sum' '*.yaml' '*.json' '*.sql' ':!plugins/examples' ':!bench')
UI_SOURCES = $(shell git ls-files -co --exclude-standard components/portal/ui)

.PHONY: run build install test test-go test-ui test-e2e bench bench-runtime bench-compare lint clean proto ui

run: build ## Start the server on the embedded default, feed it the Smart Home sample, print where the chart is.
	@tools/run.sh $(ARGS)

build: bin/carbonado plugins/.installed

bin/carbonado: $(GO_SOURCES)
	@echo "building bin/carbonado"
	@CGO_ENABLED=0 $(GOBUILD) -o bin/carbonado ./runtime/cmd/carbonado

build/all: $(GO_SOURCES) build/ui.stamp
	@echo "building the components"
	@mkdir -p build
	@CGO_ENABLED=0 $(GOBUILD) -tags ui -o build/all ./components/all

build/DuckDB: $(GO_SOURCES)
	@echo "building AnalyticsEngine's DuckDB (the first time takes some minutes)"
	@mkdir -p build
	@CGO_ENABLED=1 $(GOBUILD) -tags duckdb_arrow -o build/DuckDB ./components/analyticsengine/cmd/DuckDB

ui: build/ui.stamp
build/ui.stamp: $(UI_SOURCES)
	@echo "building the web page"
	@mkdir -p build
	@cd components/portal/ui && npm ci --no-audit --no-fund --loglevel=error && npm run build --silent
	@touch build/ui.stamp

# The kit for Java, tested, and the example on it; Maven is a prerequisite of the tests alone.
build/parrot.stamp: bin/carbonado $(shell git ls-files sdk/java plugins/examples/parrot sdk/proto/vectors)
	@echo "building the Java kit and its example"
	@mvn -B -q -f sdk/java clean install
	@CARBON_HOME=$(CURDIR) bin/carbonado plugin build plugins/examples/parrot
	@touch build/parrot.stamp

plugins/.installed: bin/carbonado build/all build/DuckDB $(wildcard components/*/component.yaml)
	@tools/packages.sh

install: build ## Lay out an installation: make install PREFIX=DIR
	@test -n "$(PREFIX)" || { echo "usage: make install PREFIX=DIR" >&2; exit 64; }
	@tools/install.sh "$(PREFIX)"

test: test-go test-ui test-e2e ## All set-up and all tests.

test-go: build
	@tools/setup-tests.sh
	@$(MAKE) --no-print-directory build/parrot.stamp
	@tools/reproducible.sh
	@echo "testing sdk, runtime, components"
	cd sdk && go test $(RACE) ./...
	go test $(RACE) -tags duckdb_arrow -timeout 20m ./...
	cd plugins/examples/hello && GOWORK=off go test $(RACE) ./...
	cd plugins/examples/shop && GOWORK=off go vet ./...

test-ui: build/ui.stamp
	@echo "testing the web page"
	@cd components/portal/ui && npm test --silent
	go test -tags ui -run TestPage ./components/portal

test-e2e: build
	@tools/setup-tests.sh browser
	@components/portal/e2e/run.sh

bench: build ## Ratios against peers and limits, measured in this run.
	@tools/bench.sh

bench-runtime: build ## The same for the component runtime alone.
	@tools/bench-runtime.sh

bench-compare: build ## Both sides in turn: make bench-compare BASE=ref; fails on a loss of more than a tenth.
	@tools/bench-compare.sh "$(BASE)"

lint: ## buf on the contracts, golangci-lint on the code; building the two takes many minutes the first time.
	cd tools && GOWORK=off go tool buf lint ../sdk/proto
	@mkdir -p build
	cd tools && GOWORK=off go build -o ../build/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	build/golangci-lint run ./bin/... ./components/... ./docs/... ./runtime/... ./bench/...
	cd sdk && ../build/golangci-lint run ./...

proto:
	@tools/proto.sh

clean:
	rm -rf bin/carbonado build plugins/.installed plugins/.blobs
	find plugins -mindepth 1 -maxdepth 1 ! -name examples -exec rm -rf {} +

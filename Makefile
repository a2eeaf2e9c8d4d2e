# Claviger. `make demo` and `make test` are all the set-up there is; both say and install what is missing.
SHELL := /bin/sh
CARGO ?= cargo

.PHONY: all demo playground test check bench build man deb install uninstall clean

all: build

build:
	@scripts/need build
	$(CARGO) build --workspace --bins

## The main job on one simulated token of each kind, through the real daemon on a private bus.
demo:
	@scripts/need build demo
	$(CARGO) build --workspace --bins
	PATH="$(CURDIR)/target/debug:$$PATH" target/debug/claviger-sim up -- scripts/demo-story

## The same world, with a shell to try things in.
playground:
	@scripts/need build demo
	$(CARGO) build --workspace --bins
	PATH="$(CURDIR)/target/debug:$$PATH" target/debug/claviger-sim up -- scripts/playground

## Every ring that this machine can run.
test:
	@scripts/need build demo deb test
	@scripts/test

## The fast loop.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace --lib --bins

## Ratios within one run; a table, and target/bench.json.
bench:
	@scripts/need build demo test
	$(CARGO) bench --bench claviger

## The Debian packages, target/debian/*.deb. DEBPROFILE=deb builds in half the time, for tests: not what is handed out.
DEBPROFILE ?= release
deb:
	@scripts/need build deb
	rm -rf target/debian
	mkdir -p target/debian
	PROFILE=$(DEBPROFILE) OUTPUT=target/debian debian/rules clean binary
	rm -f debian/files
	@ls -l target/debian

include mk/install.mk

clean:
	$(CARGO) clean

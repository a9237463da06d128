# The front door. `make help` lists what is behind it.
# Each target does its own set-up; all of them may be called on a machine where only Rust is installed.

PREFIX  ?= /usr/local
DESTDIR ?=
DOCKER  ?=
GUEST   ?= v2

.DEFAULT_GOAL := build
.PHONY: all build demo test test-vm vm-shell check install uninstall bench soak setup clean help
# The scripts share one target directory and one package manager: -j is for cargo, not for us.
.NOTPARALLEL:

all: build

build:   ## release binaries, static, in target/release
	tools/build

demo:    ## a container from nothing, each command shown
	tools/setup
	tools/build
	tools/demo

test:    ## everything that proves the project: unit tests, conformance, engines, machines (root for all of it)
	tools/setup
	tools/build
	tools/test

test-vm: ## the part of test that runs in virtual machines: cgroup v2 and v1, systemd, engines below it, arm64
	tools/setup
	tools/build
	tools/test-vm

vm-shell: ## a shell in one of those machines; GUEST=v2, v1, systemd, engines or arm64
	tools/setup
	tools/build
	tools/test-vm --shell --guest '$(GUEST)'

check:   ## formatting, lints, dependency rules, the other architecture
	tools/setup
	tools/check

install: ## binaries, man pages, completions and a systemd unit under $(DESTDIR)$(PREFIX); DOCKER=1: also the name docker
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' DOCKER='$(DOCKER)' tools/install

uninstall: ## what install put there
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' tools/install --remove

bench:   ## times and memory beside the floor and the installed peers (root, a quiet machine)
	tools/setup
	tools/build
	tools/bench

soak:    ## every case in every machine, and long loops that look for leaks and races (root; two hours)
	tools/setup
	tools/build
	tools/soak

setup:   ## the packages that demo, test and bench need; removes nothing, starts nothing
	tools/setup

clean:
	cargo clean

help:    ## this list
	@sed -n 's/^\([a-z-]*\): *## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

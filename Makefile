# The lab's commands. `make run` and `make test` set up whatever a fresh Debian or Ubuntu lacks, once.

PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
READY    := $(VENV)/.ready
COMPILED := $(VENV)/.compiled
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help run test check setup kernel hardware exhaustive web demo recordings pictures bench clean
.PHONY: system system-check system-test

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$(printf '\t') read -r name text; do \
	    printf '  make %-10s %s\n' "$$name" "$$text"; done

run: kernel ## boot a machine, remap one frame through an MDL, show every entry on both ways
	@$(BIN)/lab run

test: kernel system-test ## all tests: unit, golden, command line, hardware (real QEMU), web (real Chromium)
	@$(BIN)/pytest -q -n auto

hardware: kernel ## only the tests on a real machine
	@$(BIN)/pytest -q -n auto tests/hardware images/kernel.elf

web: kernel system-test ## only the tests of the lecture page in a real browser
	@$(BIN)/pytest -q -n auto tests/web

exhaustive: kernel ## foretell every access by the million, and let the CPU judge
	@$(BIN)/lab exhaustive

check: kernel system-check ## formatting, lint, types, layers; the guest by two compilers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(wildcard guest/*.[ch] guest/*/*.[ch])
	@$(MAKE) -C guest CC=gcc PYTHON=$(abspath $(BIN)/python)

recordings: kernel ## play every scenario anew into images/recordings/
	@$(BIN)/python -m tests.recordings

pictures: recordings system-test ## look at the lecture page in a browser, into images/pictures/
	@$(BIN)/python -m tests.pictures

demo: kernel ## give the main lecture, as a page in a browser of this computer
	@$(BIN)/lab demo --web

bench: kernel ## how fast, as ratios against bare QEMU measured in the same run
	@$(BIN)/python -m tests.bench

setup: $(READY) ## system packages by apt-get where missing, Python packages into .venv

kernel: $(READY) $(COMPILED) ## build the guest into images/
	@$(MAKE) -j$$(nproc) -C guest PYTHON=$(abspath $(BIN)/python)

clean: ## remove what was built, keep .venv
	rm -rf images/build* images/kernel*

# ---------------------------------------------------------------------------------------------------- set-up ----

# What the lab calls outside of .venv, as program:package, or file:package. Playwright's driver needs libatomic.
PROGRAMS       := qemu-system-x86_64:qemu-system-x86 gdb:gdb setpriv:util-linux
PROGRAMS_CHECK := gcc:gcc
PROGRAMS_TEST  := chromium:chromium tmux:tmux /usr/lib/$(shell uname -m)-linux-gnu/libatomic.so.1:libatomic1

# $(call install,PROGRAMS): apt-get what is missing; silent and instant when nothing is.
define install
	@missing=; for pair in $(1); do command -v $${pair%%:*} >/dev/null || [ -e $${pair%%:*} ] || missing="$$missing $${pair##*:}"; done; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -z "$$missing" ] || { \
	    command -v apt-get >/dev/null || { echo "missing:$$missing, and no apt-get: install them by hand" >&2; exit 3; }; \
	    echo "installing:$$missing"; \
	    as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo"; \
	    $$as_root apt-get update -qq && \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
endef

system:
	$(call install,$(PROGRAMS))

system-check:
	$(call install,$(PROGRAMS_CHECK))

system-test:
	$(call install,$(PROGRAMS_TEST))

$(READY): pyproject.toml .constraints.txt | system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; $$($(PYTHON) --version) is here: make PYTHON=python3.12" >&2; exit 3; }
	@echo "setting up $(VENV)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .constraints.txt -e '.[dev]' \
	    --config-settings editable_mode=compat
	@touch $@

# Some environments forbid Python to write bytecode; without it each `lab` would compile itself anew.
$(COMPILED): $(wildcard lab/*.py lab/*/*.py lab/*/*/*.py) | $(READY)
	@$(BIN)/python -m compileall -q lab
	@touch $@

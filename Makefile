# Set-up and the main jobs. `make run` and `make test` need only Python, make and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/*.proto)

.DEFAULT_GOAL := help
.PHONY: help setup run test unit end-to-end explore lint types imports bench soak guests lock clean

help:  ## show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

setup: $(VENV)/.ready protos/.generated guests  ## virtual environment, generated code, guests

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "splitvisor needs Python 3.11 or newer: name one with 'make PYTHON=/path/to/python3 ...'" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make a virtual environment: install the venv module (Debian: apt-get install python3-venv)" >&2; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

protos/.generated: $(PROTOS) $(VENV)/.ready
	$(BIN)/python -m grpc_tools.protoc -I. --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	@touch $@

guests:  ## the bare-metal guests, into build/guests
	@$(MAKE) --no-print-directory -C guests

run: setup  ## the main job, live: guests on a real disk, the service OS killed twice and stopped once
	@$(BIN)/splitvisor demo

test: setup lint types imports  ## everything that CI checks
	$(BIN)/pytest

unit: setup  ## all tests but those in tests/end_to_end
	$(BIN)/pytest --ignore=tests/end_to_end

end-to-end: setup  ## only the tests in tests/end_to_end: whole machines, as users start them
	$(BIN)/pytest tests/end_to_end

explore: setup  ## only the properties, each with a thousand new random examples
	$(BIN)/pytest --hypothesis-profile explore -m hypothesis --ignore=tests/end_to_end

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-cache

bench: setup  ## the figures, in some ten minutes: disks, recovery, QEMU beside it, scheduling
	@$(BIN)/python -m benchmarks.quick
	@$(BIN)/python -m benchmarks.net
	@$(BIN)/python -m benchmarks.recovery
	@$(BIN)/python -m benchmarks.swap --swaps 1000
	@$(BIN)/python -m benchmarks.copy
	@$(BIN)/python -m benchmarks.sched
	@$(BIN)/python -m benchmarks.simulated

SEED := 1
# Those that end in a recovery, and soon.
MORTAL := kill,kill-both,kill-recovery,stop,zombie,exit,raise,drop
soak: setup  ## two hours: 20,000 recoveries and 1,000 zombies under verified load, then all faults and power cuts
	@$(BIN)/splitvisor chaos --seed $(SEED) --for 4h --recoveries 20000 --zombies 1000 \
	  --faults $(MORTAL)
	@$(BIN)/splitvisor chaos --seed $(SEED) --for 5m --disk powercut --guests 2 --services 2

lock:  ## resolve the dependencies anew into requirements.lock (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --group dev \
	  --upgrade pyproject.toml -o requirements.lock

clean:  ## remove everything that is generated
	rm -rf $(VENV) build protos/*_pb2* protos/.generated
	find . -name __pycache__ -prune -exec rm -rf {} +

# Each of these sets up what it needs in .venv; nothing but Python 3.11 (or newer) with venv is
# expected. `make demo PYTHON=python3.12` chooses the Python.
#
#   make demo    thousands of requests against a server of our own, checked
#   make test    the tests, on every Python on the PATH
#   make lint    style and types
#   make bench   the benchmarks

newest = for v in 14 13 12 11; do python3.$$v -c 'import venv' 2>&- && echo python3.$$v && break; done
PYTHON ?= $(or $(shell $(newest)),python3)
BIN = .venv/bin

.PHONY: demo test lint bench clean

demo: .venv/cli.stamp
	$(BIN)/fastreq demo $(ARGS)

test: .venv/tox.stamp
	$(BIN)/tox run -m test $(ARGS)

lint: .venv/tox.stamp
	$(BIN)/tox run -m lint

bench: .venv/bench.stamp
	$(BIN)/python benchmarks/run_tests_functions.py $(ARGS)

clean:
	rm -rf .venv .tox

.venv/cli.stamp: needs = --editable '.[cli]'
.venv/tox.stamp: needs = 'tox>=4.30'
.venv/bench.stamp: needs = --editable '.[benchmarks]'

.venv/%.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(needs)
	@touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv

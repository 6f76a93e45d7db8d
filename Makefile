# Each of these sets up what it needs in .venv; nothing but Python 3.11 (or newer) with venv is
# expected. `make demo PYTHON=python3.12` chooses the Python.
#
#   make demo    thousands of requests against a server of our own, checked
#   make test    the tests: all on the newest Python on the PATH (or on PYTHON), and on the others
#                what depends on the interpreter; `make test-all`: all on each of them
#   make lint    style and types
#   make bench   fastreq beside other clients, and which goals are met: under 5 minutes
#   make storm   the storms of tests/storms in full, and their figures (about an hour);
#                FASTREQ_STORM_SEED=8 FASTREQ_STORM_FACTOR=0.1 make storm: others, and fewer
#   make fuzz    each target of fuzz/ for 30 seconds; `make fuzz ARGS="600 corpora"` goes on where
#                the last such call ended

newest = for python in python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip' 2>/dev/null && echo $$python && break; done
PYTHON ?= $(or $(shell $(newest)),python3)
BIN = .venv/bin

tested = py311 py312 py313 py314
full = $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
comma = ,
empty =

.PHONY: demo test test-all lint bench storm fuzz clean

demo: .venv/cli.stamp
	$(BIN)/fastreq demo $(ARGS)

test: .venv/tox.stamp
	$(BIN)/tox run -e $(full)-full,$(subst $(empty) ,$(comma),$(filter-out $(full),$(tested))),bare $(ARGS)

test-all: .venv/tox.stamp
	$(BIN)/tox run -m all $(ARGS)

lint: .venv/tox.stamp
	$(BIN)/tox run -m lint

bench: .venv/bench.stamp .venv/niquests.stamp
	$(BIN)/python benchmarks/compare.py --python niquests=.venv/niquests/bin/python $(ARGS)

storm: .venv/storm.stamp
	FASTREQ_STORM=full $(BIN)/python -m pytest tests/storms -o faulthandler_timeout=0 $(ARGS)

fuzz: .venv/tox.stamp
	$(BIN)/tox run -e fuzz -- $(ARGS)

clean:
	rm -rf .venv .tox

.venv/cli.stamp: needs = --editable '.[cli]'
.venv/tox.stamp: needs = 'tox>=4.30'
.venv/storm.stamp: needs = --editable '.[all,test,servers]'
.venv/bench.stamp: needs = --editable '.[benchmarks]'

.venv/%.stamp: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(needs)
	@touch $@

# niquests replaces urllib3, so it has an environment of its own; where it cannot be had, it is
# left out.
.venv/niquests.stamp: | $(BIN)/pip
	-$(PYTHON) -m venv .venv/niquests && .venv/niquests/bin/python -m pip install --quiet \
		--disable-pip-version-check niquests uvloop
	@touch $@

# pip comes last: without it the environment is only half made.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fastreq needs Python 3.11")'
	$(PYTHON) -m venv .venv

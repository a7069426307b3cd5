# The five commands of this project, and two run by hand. They need Python 3.11 or newer and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
# The tests start hundreds of processes: none of them should have to compile the sources again.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check interop bench soak fuzz clean help

help:
	@echo "make demo | test | check | interop | bench | soak | fuzz | clean"

demo: .venv/.installed-server
	@$(BIN)/sipbridge demo

test: .venv/.installed-test
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not interop" $(ARGS)

check: .venv/.installed-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

interop: .venv/.installed-test
	tests/interop/install-peers
	$(BIN)/python -m tests.interop.run $(ARGS)
	$(BIN)/python -m pytest -q tests/browser

bench: .venv/.installed-test
	$(BIN)/python -m bench $(ARGS)

soak: .venv/.installed-test
	$(BIN)/python -m bench.soak $(ARGS)

fuzz: .venv/.installed-fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

clean:
	rm -rf .venv bench/results interop/results .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sipbridge needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -m venv .venv || \
	  { echo "no venv module: install it (Debian and Ubuntu: apt-get install python3-venv)"; exit 2; }

.venv/.installed-server: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv ..."
	@$(PIP) -e '.[server]'
	@touch $@

.venv/.installed-test: .venv/.installed-server
	@$(PIP) -e '.[server,client,test]'
	@touch $@

# Coverage where there is a wheel for this Python; without it inputs are mutated blindly.
.venv/.installed-fuzz: .venv/.installed-test
	@$(PIP) --only-binary :all: -e '.[fuzz]' || echo "no coverage for this Python: blind mutations"
	@touch $@

.venv/.installed-check: .venv/.installed-test
	@$(PIP) -e '.[server,client,test,check]'
	@touch $@

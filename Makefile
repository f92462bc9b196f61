# The two commands of the README: `make run` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/sample
SEED ?= 0
BIN := $(VENV)/bin
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export NUMBA_NUM_THREADS := 1

.PHONY: run test lint install clean bench bench-full

run: $(VENV)/.installed
	@test ! -e "$(OUT)/run.json" || rm -rf "$(OUT)"
	$(BIN)/stairways tune --out "$(OUT)" --seed $(SEED)

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 -q

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# peers live in an environment of their own
bench: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m benchmarks $(BENCH)

bench-full: $(VENV)-bench/.installed
	$(VENV)-bench/bin/python -m benchmarks --full

install: $(VENV)/.installed

# torch goes first and pinned: a range of another package would take a newer build with CUDA
$(VENV)/.installed: pyproject.toml constraints.txt
	@found="$(PYTHON)"; test ! -x $(BIN)/python || found="$(BIN)/python"; \
	$$found -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "$$found is no Python of 3.11 or later: name one, as in make PYTHON=python3.11 (and make clean first, if $(VENV) has the old one)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)-bench/.installed: pyproject.toml constraints.txt benchmarks/peers.txt $(VENV)/.installed
	test -x $(VENV)-bench/bin/python || $(VENV)/bin/python -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip install -q -c constraints.txt "torch==2.13.0"
	$(VENV)-bench/bin/pip install -q -c constraints.txt -e .
	$(VENV)-bench/bin/pip install -q -c constraints.txt -r benchmarks/peers.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

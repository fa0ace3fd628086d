# check: everything that must hold before a change lands; fix: what a machine can mend by itself.
PYTHON ?= .venv/bin/python

.PHONY: check fix test test-all bench

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(dir $(PYTHON))lint-imports
	$(PYTHON) -m pytest -n auto

fix:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:
	$(PYTHON) -m pytest -n auto

test-all:
	$(PYTHON) -m pytest -m "not gpu and not hub"

bench:
	$(PYTHON) benchmarks/samples_quality.py
	$(PYTHON) benchmarks/mini_throughput.py
	$(PYTHON) benchmarks/cold_start.py

# Two commands do all the set-up on a machine that has Python 3.11 (with venv) and make:
#   make demo     trains on real data, shows progress, saves a model and a picture
#   make test     runs the whole test suite
# Both make .venv with all that they need.

PYTHON ?= python3.11
BACKEND ?= jax
# Folders with wheels to prefer: one with PyTorch's CPU build spares the CUDA build of gigabytes.
WHEELS ?= $(wildcard ../shared/wheels)
INSTALL = $(BIN)/pip install -q -c constraints.txt $(addprefix --find-links ,$(WHEELS)) -e
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
PYTEST = OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Backends over engines; on a machine that cannot have one, a line says so.
ENGINES ?= pytensor dl4j cntk

.PHONY: demo test test-others test-engines check bench clean data

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: '$(PYTHON)' was not found (set PYTHON=...)"; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the module venv is missing (on Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.demo-$(BACKEND): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[demo,$(BACKEND)]'
	$(BIN)/oneiros setup $(BACKEND)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python .data/.all
	$(INSTALL) '.[test]'
	@touch $@

# Tests without their data are skipped, with a line that says so.
data .data/.all: examples/fetch.py | $(BIN)/python
	-@$(BIN)/python examples/fetch.py

demo: $(VENV)/.demo-$(BACKEND)
	ONEIROS_BACKEND=$(BACKEND) $(BIN)/python examples/digits.py --out $(OUT)

test: $(VENV)/.test
	ONEIROS_TEST_BACKENDS="numpy jax" $(PYTEST) --ignore tests/backends/test_torch.py \
		--ignore tests/backends/test_tensorflow.py $(ENGINES:%=--ignore tests/backends/test_%.py) tests

# What is left of the suite: the same tests on the other backends.
test-others: $(VENV)/.test
	ONEIROS_TEST_BACKENDS="torch tensorflow" $(PYTEST) -k "torch or tensorflow" tests

$(VENV)/.engines: $(VENV)/.test
	-for name in $(ENGINES); do $(BIN)/oneiros setup $$name; done
	@touch $@

# The kit, the layers and what is particular, on each engine. PyTensor's kernels are compiled for its
# own tests, and run as plain Python in the others.
test-engines: $(VENV)/.engines
	@for name in $(ENGINES); do \
		if $(BIN)/oneiros info --backend $$name; then \
			$(PYTEST) tests/backends/test_$$name.py || exit 1; \
			export ONEIROS_PYTENSOR_LINKER=python; \
			$(BIN)/python -m oneiros.testing $$name --quick || exit 1; \
			ONEIROS_TEST_BACKENDS=$$name $(PYTEST) tests/layers -k "$$name" || exit 1; \
			unset ONEIROS_PYTENSOR_LINKER; \
		else echo "NOT TESTED: backend $$name, which this machine does not have"; fi; \
	done

check: $(VENV)/.test test-others test-engines
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	ONEIROS_BACKEND=numpy $(BIN)/python -m pytest -q -n 2 --doctest-modules oneiros --ignore oneiros/backends/cntk_worker.py
	$(BIN)/python -m oneiros.testing numpy
	XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false" \
		$(BIN)/python -m oneiros.testing jax --quick
	$(BIN)/python -m oneiros.testing torch --quick
	$(BIN)/python -m oneiros.testing tensorflow --quick
	$(BIN)/python benchmarks/run.py --smoke
	$(BIN)/python benchmarks/ops.py --smoke
	$(BIN)/python benchmarks/images.py --smoke
	$(BIN)/python benchmarks/text.py --smoke

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info

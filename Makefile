# Needs python3 with venv, and make. Each target builds the virtual environment by itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2
# What holds on every backend of Keras. XLA compiles the many small functions of the tests in half the time without optimizing.
CORE_TESTS := $(addprefix tests/,linalg decompositions layers adapters graph costs ranks training test_planning.py \
	test_factorization.py)
export TF_CPP_MIN_LOG_LEVEL ?= 2
# Two workers share the cores; NumPy's decompositions with a thread for each core would wait for one another.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest -n $(JOBS)
	KERAS_BACKEND=jax XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(CORE_TESTS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info runs

# One command each; every target sets up what it needs in .venv and build/ and nothing elsewhere.
#
#   make demo     a real program on the heap, its report, then a planted overflow being caught
#   make test     C, C++ and Python tests          make lint     format, lint, types, layers
#   make bench    side by side with other allocators, tables and JSON
#   make asan     tests under address and undefined-behaviour sanitizers     make tsan, make ubsan
#   make fuzz     libFuzzer for FUZZ_SECONDS        make nightly  everything that takes long
#   make docs     tables and examples into docs/, the manual into build/site
#   make clean    removes build/ (make distclean also .venv)

PYTHON ?= python3
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
PYTEST_ARGS ?=
BENCH_ARGS ?= --suite all --quick
VENV := .venv
BIN := $(VENV)/bin
RESULTS := build/results
PYTHONS ?= $(wildcard $(HOME)/.pyenv/versions/3.1[1-9].*/bin/python)

NATIVE := $(shell find src include bindings cmake -type f 2>/dev/null) CMakeLists.txt
FORMATTED := $(shell find src include bindings tests benchmarks examples -path "*/inputs/*" -prune \
    -o \( -name "*.[ch]" -o -name "*.[ch]pp" \) -print 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup packages build native demo test test-c test-checked test-python lint format bench \
        asan ubsan tsan fuzz nightly pythons docs clean distclean

help:
	@sed -n '3,10p' Makefile | cut -c3-

# --- setup -----------------------------------------------------------------------------------

packages:
	@tools/install_packages.sh

$(VENV)/.created:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	touch $@

# Build tools first, so that the editable install below is incremental.
$(VENV)/.tools: $(VENV)/.created pyproject.toml
	$(BIN)/pip install -q 'scikit-build-core>=0.11' 'nanobind>=2.9' 'numpy>=2.0'
	command -v ninja >/dev/null || $(BIN)/pip install -q ninja
	command -v cmake >/dev/null || $(BIN)/pip install -q cmake
	touch $@

$(VENV)/.installed: $(VENV)/.tools $(NATIVE)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install -q --no-build-isolation -e '.[test,lint]'
	touch $@

setup: $(VENV)/.installed
build: setup

# C libraries and tests, optimised: build/release.
native: packages $(VENV)/.tools
	@PATH="$(CURDIR)/$(BIN):$$PATH" && export PATH && \
	cmake --preset release >/dev/null && cmake --build --preset release -j $(JOBS)

# --- proof -----------------------------------------------------------------------------------

test: test-c test-python
	@$(BIN)/python tools/test_counts.py $(RESULTS)

test-c: native
	@mkdir -p $(RESULTS)
	cd build/release && ctest -j $(JOBS) --output-on-failure --output-junit $(CURDIR)/$(RESULTS)/c.xml

# The same tests with every internal assertion on.
test-checked: packages
	@mkdir -p $(RESULTS)
	cmake --preset checked >/dev/null && cmake --build --preset checked -j $(JOBS)
	cd build/checked && ctest -j $(JOBS) --output-on-failure --output-junit $(CURDIR)/$(RESULTS)/checked.xml

test-python: packages setup
	@mkdir -p $(RESULTS)
	$(BIN)/python -m pytest -m 'not nightly' --junitxml=$(RESULTS)/python.xml $(PYTEST_ARGS)

lint: packages setup
	@echo "clang-format: $(words $(FORMATTED)) files"
	@clang-format-14 --dry-run --Werror $(FORMATTED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/check_layers.py
	$(BIN)/python tools/docs_from_tables.py --check
	$(BIN)/python tools/check_named_tests.py

format: packages setup
	@clang-format-14 -i $(FORMATTED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

asan ubsan tsan: packages
	@mkdir -p $(RESULTS)
	cmake --preset $@ >/dev/null && cmake --build --preset $@ -j $(JOBS)
	cd build/$@ && ctest -j $(JOBS) --output-on-failure --output-junit $(CURDIR)/$(RESULTS)/$@.xml

fuzz: packages
	tests/fuzz/run.sh $(FUZZ_SECONDS)

# A clean `pip install .` and the Python tests on every interpreter that is here.
pythons: packages
	@for python in $(PYTHONS); do \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "== Python $$version ($$python)"; \
	    rm -rf .venv-$$version && $$python -m venv .venv-$$version && \
	    .venv-$$version/bin/pip install -q '.[test]' && \
	    .venv-$$version/bin/python -m pytest -q -m 'not nightly' $(PYTEST_ARGS) || exit 1; \
	done

nightly: test test-checked asan tsan fuzz pythons
	cd build/release && HOLDFAST_TEST_STACKS=1000000 HOLDFAST_TEST_TASKS=100000 \
	    ctest -R '^c/test_(stack|fiber)$$' --output-on-failure
	cd build/release && HOLDFAST_TEST_KILLS=10000 \
	    ctest -L shm -E shm/steps_ --output-on-failure
	$(BIN)/python -m pytest -m nightly --junitxml=$(RESULTS)/nightly.xml $(PYTEST_ARGS)
	@$(BIN)/python tools/test_counts.py $(RESULTS)

# --- to look at --------------------------------------------------------------------------------

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo.sh

bench: packages setup native
	$(BIN)/python benchmarks/compare.py $(BENCH_ARGS)

docs: setup
	$(BIN)/python tools/docs_from_tables.py
	$(BIN)/python -c 'import material' 2>/dev/null || \
	    $(BIN)/pip install -q 'mkdocs>=1.6' 'mkdocs-material>=9.5'
	$(BIN)/mkdocs build -q
	@echo build/site/index.html

clean:
	rm -rf build dist

distclean: clean
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis

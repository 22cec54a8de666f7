# demo: install into .venv, then train, test and explain a tagger on the embedded data.
# test: the fast tests. test-slow: the others. test-gpu: networks of the papers on a GPU. They need only python3 (3.11 or newer), venv and make.
PYTHON ?= python3
BIN := .venv/bin
# One process per core, at most four (1 GB each); the tests of a file run in one process and share its fixtures.
SPREAD := -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-slow test-realdata test-gpu lint clean

demo: .venv/.core
	$(BIN)/python -m tasks.tagging fit

test: .venv/.dev
	$(BIN)/python -m pytest -q $(SPREAD) -m "not slow and not realdata and not gpu"

test-slow: .venv/.dev
	$(BIN)/python -m pytest -q -m slow

test-realdata: .venv/.dev
	$(BIN)/python -m pytest -q -rs -m realdata

test-gpu: .venv/.dev
	$(BIN)/python -m pytest -q -rs -m gpu

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports

.venv/.core: pyproject.toml constraints.txt
	$(call install,.)
	touch $@

.venv/.dev: pyproject.toml constraints.txt
	$(call install,.[dev])
	touch .venv/.core $@

# uv if it is installed (about half a minute), else pip (a few minutes).
define install
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if command -v uv >/dev/null 2>&1; then uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e '$(1)'; \
	else $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '$(1)'; fi
endef

clean:
	rm -rf .venv runs

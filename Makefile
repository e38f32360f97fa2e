# make demo | test | lint | wheel. Everything happens in .venv; nothing outside this folder is touched (but see system-deps).

PYTHON = python3
BIN = .venv/bin
STAMP = .venv/.orbit4d-installed
OUT = out/demo
# An orbit4d on PYTHONPATH would hide the installed one, whose compiled core is what must be run.
# Threads that wait without spinning: several times faster where the cores are shared.
ENV = PYTHONPATH= PIP_DISABLE_PIP_VERSION_CHECK=1 OMP_WAIT_POLICY=PASSIVE

.PHONY: demo test lint format wheel web install system-deps clean

demo: install
	@echo 'generating "a fox running" (one to two minutes on two cores)'
	@$(ENV) $(BIN)/orbit4d generate --prompt "a fox running" --out $(OUT)
	@echo "open this page in a browser: file://$$(pwd)/$(OUT)/scene.html"

test: install system-deps
	$(ENV) $(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python

format: install
	$(BIN)/ruff check --fix src tests examples benchmarks
	$(BIN)/ruff format src tests examples benchmarks

wheel: .venv/.created
	$(ENV) $(BIN)/python -m pip wheel --no-deps --wheel-dir dist .
	@ls -l dist/*.whl

# The page's player, from TypeScript into the one file that is committed. Only needed where web/ changes; needs Node.
web:
	cd web && npm install --no-save --ignore-scripts --no-audit --no-fund && npm run build

# Installs again whenever a file of the package, its build or its pins is newer than the last installation. torch goes first,
# alone: so its exact pin decides which build is taken, before anything else asks for it.
install: .venv/.created
	@if [ ! -f $(STAMP) ] || [ -n "$$(find src cpp CMakeLists.txt pyproject.toml constraints.txt \
	    -type f ! -name '*.pyc' -newer $(STAMP))" ]; then \
	  echo "installing into .venv: three to six minutes, most of them torch"; \
	  set -ex; \
	  $(ENV) $(BIN)/python -m pip install --quiet -c constraints.txt torch; \
	  $(ENV) $(BIN)/python -m pip install --quiet -c constraints.txt ".[dev]"; \
	  touch $(STAMP); \
	fi

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than 3.11; name another with: make PYTHON=python3.12"; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null \
	  || { echo "make: no C++ compiler found; install g++ or clang++"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# Software OpenGL draws GLB assets, a headless browser tests the page. Neither is needed by the demo.
system-deps:
	@sh .ci/system-deps

clean:
	rm -rf .venv build dist

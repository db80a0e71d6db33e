# Two commands: `make demo` and `make test`. Both set up what they need and can be run again.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(BIN):$(PATH)

.PHONY: demo test test-fast check serve figures docs commands commands-all clean

demo: $(STAMP) ## the whole comparison on the embedded dataset, with tiny models on the CPU
	wmtp run compare --profile demo

test: check ## the checks, and then the tests; CI runs `make docs` after it
	pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-fast: $(STAMP) ## the unit tests alone, without the slow ones
	pytest tests/unit -m "not slow" --numprocesses 2 --dist loadscope --no-loadscope-reorder

check: $(STAMP) ## lint, types, import contracts, spelling
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	git ls-files -z | xargs -0 codespell   # what is made here is not checked

serve: $(STAMP) ## Prefect server and worker on 127.0.0.1, with all deployments
	python -m flows.serve

figures: $(STAMP) ## the README's pictures
	python docs/make_figures.py

docs: $(STAMP) ## the documentation as a site, in site/
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build

commands: $(STAMP) ## the commands that README and docs show, but for those that take minutes
	python docs/run_commands.py

commands-all: $(STAMP) ## those too, with the toy profile or little data: half an hour
	python docs/run_commands.py --all

$(STAMP): pyproject.toml constraints.txt scripts/install-system
	scripts/install-system
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 12), f"Python 3.11 or 3.12 is needed, not {sys.version}"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt 'torch==2.13.0'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean: ## environment, outputs and caches (DVC's cache too)
	rm -rf $(VENV) artifacts .wmtp .dvc/cache .dvc/tmp

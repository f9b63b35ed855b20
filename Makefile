# make mnist · make celeba · make test · make lint · make bench: each sets up what it needs, once.
# ARGS="…" hands options on, as in: make mnist ARGS="--epoch 3 --resume"

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# a pip constraints file, as in: make test VENV=.venv-2.6 CONSTRAINT=tests/paddle-2.6.txt
CONSTRAINT ?=

RUN = $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --disable-pip-version-check --quiet

.PHONY: mnist celeba test lint bench
mnist: $(VENV)/installed
	$(RUN) static_mnist/train.py $(ARGS)

celeba: $(VENV)/installed
	$(RUN) dygraph_celeba/train.py $(ARGS)
	$(if $(ARGS),,$(RUN) dygraph_celeba/generate.py)

test: $(VENV)/installed
	$(RUN) -m pytest -q $(ARGS)

lint: $(VENV)/linter
	$(RUN) -m ruff check .

bench: $(VENV)/installed
	$(RUN) tools/benchmark.py $(ARGS)

$(VENV)/installed: requirements.txt $(CONSTRAINT)
	$(PYTHON) -m venv $(VENV)
	@echo "installing the packages of requirements.txt into $(VENV) …"
	$(INSTALL) -r requirements.txt $(addprefix -c ,$(CONSTRAINT))
	@touch $@

$(VENV)/linter: $(VENV)/installed
	$(INSTALL) "ruff>=0.6"
	@touch $@

# `make` lists the targets. Each sets up what it needs, once.
# ARGS="…" hands options on, as in: make mnist ARGS="--epoch 3 --resume"

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# a pip constraints file, as in: make test VENV=.venv-2.6 CONSTRAINT=tests/paddle-2.6.txt
CONSTRAINT ?=

RUN = $(VENV)/bin/python
TOO_OLD = error: $(PYTHON) is not Python 3.10 or newer; name one that is, as in: make $(MAKECMDGOALS) PYTHON=python3.12
PRINT = import sys; sys.version_info >= (3, 10) and print("%d.%d" % sys.version_info[:2])
# "3.12" of an interpreter; nothing where there is none, or an older one than 3.10
version = $(shell $(1) -c '$(PRINT)' 2>&1 | grep -x '3\.[0-9]*')
MADE := $(call version,$(RUN))
# The environment is made anew when its interpreter is gone or too old, or when another version is named: PYTHON=…
ifneq ($(wildcard $(VENV)/pyvenv.cfg),)
ANEW := $(if $(MADE),,anew)
ifneq ($(origin PYTHON),file)
ANEW := $(if $(filter $(MADE),$(call version,$(PYTHON))),,anew)
endif
endif

# What is installed in an environment already is not replaced, so the tests would see another Paddle than the one named
ifneq ($(CONSTRAINT),)
ifeq ($(origin VENV),file)
$(error CONSTRAINT wants an environment of its own; name it, as in: make test VENV=.venv-2.6 CONSTRAINT=$(CONSTRAINT))
endif
endif

# `venv --clear` deletes all that is in the folder: it must be the environment's alone
ifneq ($(words $(VENV)),1)
$(error VENV="$(VENV)" has blanks; name one folder without them)
endif
ifneq ($(ANEW),)
ifeq ($(filter .venv%,$(VENV))$(wildcard $(VENV)/installed $(VENV)/made),)
$(error $(VENV) is an environment of another Python that make has not made; remove it, or name another VENV)
endif
endif

FACES = work/Generate
INSTALL = $(RUN) -m pip install --disable-pip-version-check --quiet

.PHONY: help demo mnist celeba test lint bench anew
help:
	@echo 'make demo      a gallery, then the book on small embedded digits: 3 to 8 minutes'
	@echo 'make mnist     trains the book, chapter 09.gan, on MNIST'
	@echo 'make celeba    trains the faces on CelebA, or on embedded ones, and draws 100'
	@echo 'make test      runs the tests'
	@echo 'make lint      runs the linter'
	@echo 'make bench     measures how fast it is'
	@echo
	@echo 'The first call sets up $(VENV), for which pip needs the network.'
	@echo 'ARGS="…" hands options on: make mnist ARGS="--epoch 3". ARGS=--help lists them.'
	@echo 'PYTHON=python3.12 takes another interpreter. README.md tells the rest.'

demo: $(VENV)/installed
	$(RUN) tools/gallery.py
	$(RUN) static_mnist/train.py --dataset digits --output output_demo $(ARGS)

mnist: $(VENV)/installed
	$(RUN) static_mnist/train.py $(ARGS)

celeba: $(VENV)/installed
	@$(if $(ARGS),true,! test -e $(FACES)/grid.png || \
	    { echo "error: $(FACES) holds drawn faces already; move them elsewhere" >&2; exit 2; })
	$(RUN) dygraph_celeba/train.py $(ARGS)
	$(if $(ARGS),,$(RUN) dygraph_celeba/generate.py --output $(FACES))

# In two processes, a test file at a time in its order, where pytest-xdist is installed
test: $(VENV)/optional
	$(RUN) -m pytest -q $$($(RUN) -c "import xdist" 2>/dev/null && \
	    echo "--numprocesses=2 --dist=loadfile --no-loadscope-reorder") $(ARGS)

lint: $(VENV)/linter
	$(RUN) -m ruff check .

bench: $(VENV)/installed
	$(RUN) tools/benchmark.py $(ARGS)

$(VENV)/installed: requirements.txt $(CONSTRAINT) $(ANEW)
	@test -n "$(call version,$(PYTHON))" || { echo "$(TOO_OLD)" >&2; exit 2; }
	@! test -d $(VENV) || case "$$(pwd)/" in "$$(cd $(VENV) && pwd)"/*) \
	    echo "error: VENV=$(VENV) holds the project itself; name a folder of its own, such as .venv" >&2; exit 2 ;; esac
	$(PYTHON) -m venv $(ANEW:anew=--clear) $(VENV)
	@touch $(VENV)/made
	@echo "installing the packages of requirements.txt into $(VENV), 2 GB, which takes minutes …"
	$(INSTALL) -r requirements.txt $(addprefix -c ,$(CONSTRAINT))
	@touch $@

$(VENV)/optional: requirements-optional.txt $(VENV)/installed
	@$(INSTALL) -r $< $(addprefix -c ,$(CONSTRAINT)) && touch $@ || \
	    echo "note: the packages of $< could not be installed; the tests that want them are skipped" >&2

$(VENV)/linter: $(VENV)/installed
	$(INSTALL) "ruff>=0.6"
	@touch $@

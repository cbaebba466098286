# The commands to know: make install, make demo, make test, make docs; make campaign attacks the whole program for half an hour.
.PHONY: install demo test docs examples figures campaign

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.docs-installed
DEMO := runs/demo
# Two minutes: light augmentation, and few epochs to begin with.
DEMO_ADVICE := digits --student resnet8 --method auto --time-limit 2m --preset none --epochs 10

# The pinned environment, made again only when what it is made from changes.
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	touch $@

# Finds out whether a group pays on real handwritten digits: the network alone and groups at the same total compute, over three seeds,
# with intervals. Then it predicts an image with the student that won.
demo: $(STAMP)
	$(BIN)/studygroup train $(DEMO_ADVICE) --out $(DEMO)/run --overwrite
	$(BIN)/python recipes/save_test_image.py digits $(DEMO)/digit.png
	@echo; echo "The student to deploy: $(DEMO)/run/members/best.safetensors"
	$(BIN)/studygroup predict $(DEMO)/run $(DEMO)/digit.png --top 3

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy studygroup tests recipes studies docs $(wildcard benchmarks)
	$(BIN)/pytest

# Rewrites the generated parts of pages, runs the code blocks that have changed, and builds the site: build/site/index.html.
docs: $(DOCS_STAMP) examples
	$(BIN)/python -m docs.generate
	$(BIN)/sphinx-build -q -W --keep-going -c docs/site . build/site

# Runs the code blocks of all pages, but for what is unchanged since it last ran, and compares what they print with the pages.
# With UPDATE=--update the pages get the new outputs and pictures.
examples: $(STAMP)
	$(BIN)/python -m docs.run $(UPDATE)

# Draws the pictures of the pages anew, each in a light and a dark variant.
figures: $(STAMP)
	$(BIN)/python -m docs.drawings.sources
	$(BIN)/python -m docs.drawings

$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install -c constraints.txt -e '.[docs]'
	touch $@

MINUTES ?= 30
PARTS ?= inputs,kill,fuzz,disk,ranks,cluster,leaks

# Attacks: kills, bad inputs, fuzzing, full disks. The counts go to docs/reliability.md.
campaign: $(STAMP)
	$(BIN)/python -m tests.campaign --minutes $(MINUTES) --parts $(PARTS)

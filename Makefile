# The habits. Each target makes the environment first if it is not there; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/installed
BENCH := $(BIN)/python -m benchmarks
EVERYTHING := -e '.[dev,offline]'
DATA ?= $(GENRE_FASTAI_REAL_DATA)
export MPLBACKEND ?= Agg

# Some gigabytes come over the line: a download that breaks off is begun again, later and later
define install
	@for pause in 15 60 180 ''; do \
	  $(BIN)/python -m pip install --quiet --retries 10 $(1) && exit 0; \
	  [ -z "$$pause" ] || { echo "Not installed; trying again in $$pause seconds." >&2; sleep $$pause; }; \
	done; \
	echo 'Not installed: see the lines above, and call make again.' >&2; exit 1
endef

.PHONY: help setup demo test notebooks export readme bench study peers scale faults explain structure clean

help:            ## Show the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:[^#]*## */\t/' | expand -t 12

$(READY): settings.ini setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(call install,--upgrade pip)
	$(call install,$(EVERYTHING))
	touch $@

setup: $(READY) ## Make .venv and install the project with everything for development

demo: $(READY)  ## The whole road on synthetic covers; writes runs/demo/report.html
	$(BIN)/python tools/demo.py --out runs/demo --overwrite

test: $(READY)  ## Everything that must hold: pages, tests, parity, README
	$(BIN)/python tools/readme.py --check
	OMP_NUM_THREADS=1 $(BIN)/nbdev-test --n-workers 2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

notebooks: $(READY) ## JupyterLab in nbs/
	cd nbs && env -u MPLBACKEND ../$(BIN)/jupyter lab

export: $(READY) ## Notebooks to modules
	$(BIN)/nbdev-export

readme: $(READY) ## README.md from nbs/index.ipynb
	$(BIN)/python tools/readme.py

bench: $(READY) ## Scores and times on real data: make bench DATA=<folder>
	$(BENCH).covers --data '$(DATA)' --out runs/bench --overwrite
	[ ! -d '$(DATA)/posters' ] || [ ! -d '$(DATA)/weights' ] || $(BENCH).speed --data '$(DATA)' --out runs/bench/speed --overwrite
	[ ! -d '$(DATA)/synopses' ] || $(BENCH).synopses --data '$(DATA)' --out runs/bench/synopses --overwrite
	[ ! -f '$(DATA)/posters/movies.csv' ] || [ ! -d '$(DATA)/book_covers' ] || $(BENCH).fusion --data '$(DATA)' --out runs/bench/fusion --overwrite

study: $(READY) ## Nine ways to a film's genres, at small size: make study DATA=<folder>
	$(BENCH).poster_study --data '$(DATA)' --n 600 --arch mobilenetv2_100 --size 128 --epochs 5 --overwrite

peers: $(READY) ## Against Hugging Face's Trainer, an hour: make peers DATA=<folder>
	$(call install,-e '.[peers]')
	$(BENCH).peers --data '$(DATA)'

scale: $(READY) ## Time and memory at 5,000 and 20,000 items
	$(BENCH).scale --overwrite

faults: $(READY) ## Plant faults into trainings, and see which are found
	$(BENCH).faults --quick --overwrite

explain: $(READY) ## Do explanations point at what decides? Half an hour
	$(BENCH).explanations --overwrite

structure: $(READY) ## How large modules and cells are, long lines, private names that cross modules
	$(BIN)/python tools/structure.py

clean:           ## Remove what was built, but not the environment
	rm -rf build dist *.egg-info runs .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

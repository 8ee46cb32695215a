# The short names that people type. `make help` lists them.

PYTHON ?= python3
CORES ?= all
CHECKPOINT ?= checkpoints/best_stratified.pt
SNAKEMAKE = .venv/bin/snakemake --cores $(CORES)
REPORT = --report report.html --report-stylesheet "$(CURDIR)/workflow/report/style.css"
BENCH = .venv/bin/python tests/benchmarks
READY = .venv/ready
LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
    --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help demo train train-all cluster report serve test faults test-cluster bench bench-predict bench-growth bench-scale \
    bench-quality bench-exactness bench-gpu test-demo lint format lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

$(READY): envs/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --require-hashes -r envs/requirements.txt
	.venv/bin/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## the whole workflow on synthetic films, about 3 minutes on 2 cores; needs no data and no GPU
	@mkdir -p demo
	.venv/bin/snakemake --cores 2 --resources gpu=0 --set-threads train=1 evaluate=1 explain=1 --quiet rules host reason \
	    --directory demo --configfile config/demo.yaml
	.venv/bin/snakemake --cores 2 --quiet rules host reason --directory demo --configfile config/demo.yaml $(REPORT)
	@printf '\nDone, on synthetic films: research only, not for clinical use. Open this first, in a browser:\n'
	@printf '  %s\n' "$(CURDIR)/demo/report.html" 'beside it lie:'
	@ls demo/results/model_card.md demo/results/*/training_log.csv demo/checkpoints/*.pt | sed 's/^/  /'

train: $(READY) ## train and judge the strategy of config/config.yaml (training.split_strategy)
	$(SNAKEMAKE) chosen

train-all: $(READY) ## train, judge and compare all splits
	$(SNAKEMAKE)

ON_KUBERNETES = $(filter kubernetes,$(PROFILE))
cluster: $(READY) $(if $(ON_KUBERNETES),.venv/kubernetes) ## the same on a cluster: make cluster PROFILE=slurm
	@test -f workflow/profiles/$(PROFILE)/profile.yaml -o -f $(PROFILE)/profile.yaml || \
	    { echo "PROFILE is '$(PROFILE)'; it must be one of" $$(ls workflow/profiles) "or a folder with a profile.yaml" >&2; exit 2; }
	$(if $(ON_KUBERNETES),PYTHONPATH=$(CURDIR)/.venv/kubernetes) .venv/bin/snakemake --workflow-profile $(PROFILE)

report: $(READY) ## report.html of what train-all made, one file that works offline
	$(SNAKEMAKE) $(REPORT)

.venv/extras: $(READY) envs/export.txt envs/serve.txt
	.venv/bin/python -m pip install --require-hashes -r envs/export.txt -r envs/serve.txt
	@touch $@

serve: .venv/extras ## a page on this machine into which films can be dropped (CHECKPOINT=checkpoints/best_stratified.pt)
	.venv/bin/btxrd serve --checkpoint $(CHECKPOINT)

.venv/kubernetes: $(READY) envs/kubernetes.txt
	.venv/bin/python -m pip install --target $@ --upgrade --require-hashes -r envs/kubernetes.txt
	@touch $@

test: .venv/kubernetes .venv/extras ## the tests, about 8 minutes on 2 cores
	.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" tests/workflow tests/faults tests/unit

faults: .venv/kubernetes ## kill and harm trainings in every way, and a table of what came of it: about 6 minutes on 2 cores
	.venv/bin/pytest tests/faults tests/workflow/test_kubernetes.py

test-cluster: $(READY) ## the demo on a real Slurm of one machine that does its worst: about 10 minutes on 2 cores
	tests/cluster/slurm.sh install
	.venv/bin/pytest tests/cluster

.venv/bench: $(READY) envs/bench.txt
	.venv/bin/python -m pip install --no-deps --require-hashes -r envs/bench.txt
	@touch $@

bench: .venv/bench ## speed against the limit and what people use today: about 20 minutes on 2 cores, to docs/benchmarks.md
	$(BENCH)/bench.py && $(BENCH)/overhead.py && $(BENCH)/table.py

bench-predict: $(READY) ## 500 films through btxrd predict, and the first answer: about 3 minutes on 2 cores
	$(BENCH)/predict.py && $(BENCH)/table.py

bench-growth: $(READY) ## 1, 4 and 16 times the films: about 8 minutes on 2 cores
	$(BENCH)/growth.py && $(BENCH)/table.py

bench-scale: $(READY) ## memory with a million films, and what they cost: about 5 minutes on one core
	$(BENCH)/scale.py && $(BENCH)/table.py

bench-quality: $(READY) ## that speed is not paid for with quality: about 15 minutes on 2 cores
	$(BENCH)/quality.py && $(BENCH)/table.py

bench-exactness: $(READY) ## what exact resume and reproducibility cost: about 2 minutes on 2 cores
	$(BENCH)/exactness.py && $(BENCH)/table.py

bench-gpu: $(READY) ## both strategies of BTXRD's size on a GPU, and what bounds them: some minutes
	$(BENCH)/gpu.py && $(BENCH)/table.py

test-demo: $(READY) ## the demo learns and new centers are harder, for three seeds: about 12 minutes on 2 cores
	.venv/bin/pytest -s tests/long

lint: $(READY) ## ruff, snakefmt, snakemake --lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check workflow
	.venv/bin/snakemake --lint

format: $(READY) ## bring Python and Snakemake code into form
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt workflow
	cd workflow && git ls-files --cached --others --exclude-standard lib/btxrd schemas | sort > lib/contents.txt

lock: ## renew envs/*.txt from envs/*.in (needs uv)
	$(LOCK) envs/requirements.in --output-file envs/requirements.txt
	$(LOCK) envs/kubernetes.in --output-file envs/kubernetes.txt --constraint envs/requirements.txt
	$(LOCK) envs/export.in --output-file envs/export.txt --constraint envs/requirements.txt
	$(LOCK) envs/serve.in --output-file envs/serve.txt --constraint envs/requirements.txt
	$(LOCK) envs/bench.in --output-file envs/bench.txt --no-deps --constraint envs/requirements.txt

clean: ## remove the demo
	rm -rf demo

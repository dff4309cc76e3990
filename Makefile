# Every target sets up what it needs: a virtual environment and the pinned packages. Only Python 3.10+ is assumed.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# The two long suites run in this many processes of one thread each, a file in one piece; WORKERS=0 for a debugger.
WORKERS ?= 2
PARALLEL = -n $(WORKERS) --dist loadfile
export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1

.PHONY: demo docs test test-v4 test-v455 test-clients test-clients-quick test-versions test-ray test-triton gpu-compile gpu-check job-kills lint format fuzz parity parity-text parity-tasks parity-tasks-v5 parity-tasks-v4 parity-vision coverage train train-vision train-audio wheel-test bench bench-quick bench-check bench-report bench-docs bench-peers clean
.PHONY: test-serve-clients serve-load serve-hostile

demo: $(VENV)/.ready  ## the main job on real text, with the checkpoints that ship
	$(RUN) -m afterlogits demo

test: $(VENV)/.ready-test  ## the tests, against transformers 5.23.0
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -m "not slow" $(PARALLEL) $(ARGS)

test-v4: .venv-v4/.ready-test  ## the parity tests that need transformers 4.57.6
	OMP_NUM_THREADS=1 .venv-v4/bin/python -m pytest -q tests -m v4 $(PARALLEL) $(ARGS)

parity-tasks: parity-tasks-v5 parity-tasks-v4  ## the text tasks over thousands of drawn texts, both versions; writes docs/parity.md (about ten minutes; make -j2 runs both at once)

parity-tasks-v5: $(VENV)/.ready-test
	PYTHONPATH=src:. $(RUN) -m tests.programs.pipeline_parity --write docs/parity.md $(ARGS)

parity-tasks-v4: .venv-v4/.ready-test
	PYTHONPATH=src:. .venv-v4/bin/python -m tests.programs.pipeline_parity --write docs/parity.md $(ARGS)

parity-vision: $(VENV)/.ready-test .venv-v4/.ready-test  ## the vision tasks over thousands of drawn pictures, both versions; writes docs/parity.md (half an hour)
	PYTHONPATH=src:. $(RUN) -m tests.programs.vision_pipeline_parity --write docs/parity.md $(ARGS)
	PYTHONPATH=src:. .venv-v4/bin/python -m tests.programs.vision_pipeline_parity --write docs/parity.md $(ARGS)

test-v455: .venv-v455/.ready-test $(VENV)/.ready-test  ## the generation modes that need the oracle 4.55.4
	AFTERLOGITS_ORACLE_455='$(CURDIR)/.venv-v455/bin/python' $(RUN) -m pytest -q tests -m v455 $(ARGS)

# Other projects' programs, as they are and on this package; warnings of theirs are not ours.
CLIENTS = -m pytest -q tests/clients -W ignore -p no:cacheprovider -p no:hypothesispytest -p no:unraisableexception

test-clients: .venv-clients/.ready .venv-clients-v4/.ready  ## programs of other projects, in environments of their own; writes docs/clients.md (ten minutes)
	AFTERLOGITS_CLIENTS=all AFTERLOGITS_CLIENTS_PAGE=docs/clients.md .venv-clients/bin/python $(CLIENTS) $(ARGS)
	AFTERLOGITS_CLIENTS=all AFTERLOGITS_CLIENTS_PAGE=docs/clients.md .venv-clients-v4/bin/python $(CLIENTS) $(ARGS)

test-clients-quick: .venv-clients/.ready  ## the first case of every test of a client, with transformers 5
	AFTERLOGITS_CLIENTS=quick .venv-clients/bin/python $(CLIENTS) $(ARGS)

test-serve-clients: .venv-clients/.ready .venv-v4/.ready-test  ## the server's answers as huggingface_hub 1.x and 0.36 read them (2.x and openai: make test), and gradio's forms
	.venv-clients/bin/python -m pytest -q tests/adapters/serving/test_clients.py tests/adapters/test_gradio.py -W ignore -p no:cacheprovider -p no:hypothesispytest $(ARGS)
	.venv-v4/bin/python -m pytest -q tests/adapters/serving -m v4 $(ARGS)

test-versions: test-versions-oldest test-versions-newest  ## the quick suite at both ends of the promised versions; writes docs/versions.md (a quarter of an hour)

test-versions-%: .venv-%/.ready-test  ## the same at one end
	PYTHONPATH=src:. OMP_NUM_THREADS=1 .venv-$*/bin/python -m tests.programs.version_table --end $* --workers $(WORKERS) --write docs/versions.md $(ARGS)

serve-load: $(VENV)/.ready-test  ## 1,000 requests at a server, one at a time and 32 at once, for an encoder and a decoder; figures printed (five minutes)
	$(RUN) -m afterlogits.benchmarks.serve_load $(ARGS)

serve-hostile: $(VENV)/.ready-test  ## 100,000 hostile requests at a server; counts and memory printed (under four minutes)
	PYTHONPATH=src:. OMP_NUM_THREADS=1 $(RUN) -m tests.programs.serve_hostile $(ARGS)

# Workers of Ray are polite (nice 15): beside other work they would stand still.
test-ray: .venv-ray/.ready  ## Ray Data: answers, killed actors and drivers, and the recipes for other frameworks (about five minutes)
	RAY_worker_niceness=0 RAY_BACKEND_LOG_LEVEL=fatal RAY_USAGE_STATS_ENABLED=0 .venv-ray/bin/python -m pytest -q tests/adapters/ray tests/adapters/test_recipes.py $(ARGS)

job-kills: $(VENV)/.ready-test  ## file jobs killed 200 times at random and before each file-system call, for every format; counts printed (20 minutes)
	PYTHONPATH=src:. OMP_NUM_THREADS=1 $(RUN) -m tests.programs.job_kills $(ARGS)

test-triton: .venv-triton/.ready  ## the Triton kernels in Triton's interpreter, against their twins and the CPU (four minutes)
	TRITON_INTERPRET=1 .venv-triton/bin/python -m pytest -q tests/decoding/triton_kernels tests/postprocess/triton_kernels $(ARGS)

gpu-compile: .venv-triton/.ready  ## every Triton kernel compiled for sm_80, 90 and 100 without a GPU: registers, spills, shared memory, seconds
	PYTHONPATH=src:. .venv-triton/bin/python -m tests.programs.cross_compile $(ARGS)

# Nothing is installed: PYTHON is one with a CUDA build of torch, and transformers.
gpu-check:  ## on a CUDA device: equality, times, tokens a second, a table (under ten minutes); needs torch with CUDA and transformers
	PYTHONPATH=src:. $(PYTHON) -m afterlogits.benchmarks.gpu $(ARGS)

fuzz: $(VENV)/.ready-test  ## the long run of the decoding tests: drawn cases against transformers, counts printed
	$(RUN) -m tests.programs.fuzz $(ARGS)

coverage: $(VENV)/.ready-dev  ## branch coverage of decoding/ by the tests that run it, least covered first (two minutes)
	$(RUN) -m coverage run -m pytest -q -m "not slow" tests/decoding tests/adapters/generation/test_removed_modes.py src/afterlogits/decoding $(ARGS)
	$(RUN) -m coverage report --include='*/decoding/*' --skip-covered --show-missing --sort=cover

parity: $(VENV)/.ready-test  ## every architecture's tokens, the checkpoints' texts and drawn calls of generate against transformers; writes docs/architectures.md (half an hour)
	$(RUN) -m tests.programs.checkpoint_parity
	$(RUN) -m tests.programs.option_parity
	$(RUN) -m tests.programs.architecture_parity $(ARGS)

parity-text: $(VENV)/.ready-test .venv-v4/.ready-test  ## thousands of drawn answers against the library, and texts of a million characters; counts printed
	$(RUN) -m pytest -q -s tests/postprocess tests/adapters/tasks/text/test_long_texts.py -m slow $(ARGS)
	.venv-v4/bin/python -m pytest -q -s tests/postprocess/text/test_answers.py -m slow $(ARGS)

lint: $(VENV)/.ready-dev  ## formatting, lint rules and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(VENV)/.ready-test  ## the reference of every public name, from the docstrings, as a site in build/reference
	$(VENV)/$(INSTALL) -c constraints.txt -e '.[docs]'
	$(RUN) docs/make_reference.py

wheel-test: $(VENV)/.ready-test  ## the built wheel, tested from outside the checkout
	rm -rf dist build .venv-wheel
	$(LOCK) $(RUN) -m pip wheel --quiet --no-deps --wheel-dir dist .
	ls -l dist | awk '/whl/ {print $$5 " bytes: " $$9}'
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/$(INSTALL) -c constraints.txt torch==2.13.0
	.venv-wheel/$(INSTALL) -c constraints.txt "$$(ls dist/*.whl)[test]"
	.venv-wheel/bin/python tests/run_outside_checkout.py

format: $(VENV)/.ready-dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# The raw JSON stays out of the repository; the summary in benchmarks/results and docs/benchmarks.md go in.
BENCH = AFTERLOGITS_V4='$(CURDIR)/.venv-v4/bin/python' AFTERLOGITS_V455='$(CURDIR)/.venv-v455/bin/python' $(RUN) -m afterlogits.benchmarks

bench: $(VENV)/.ready-test .venv-v4/.ready-test .venv-v455/.ready-test  ## every speed table: asked, measured, met or not (15 minutes)
	$(BENCH) $(ARGS)

bench-quick: $(VENV)/.ready-test  ## the short form, under two minutes
	$(RUN) -m afterlogits.benchmarks --quick $(ARGS)

bench-check: $(VENV)/.ready-test  ## a quick run against the stored summary, by ratios; fails on a regression
	$(RUN) -m afterlogits.benchmarks.report --check
	$(RUN) -m afterlogits.benchmarks.gate $(ARGS)

bench-report: $(VENV)/.ready-test .venv-v4/.ready-test .venv-v455/.ready-test  ## measure on a quiet machine, then the summary and the documents
	$(BENCH) --benchmark-json=bench-run.json
	$(RUN) -m afterlogits.benchmarks.report --replace bench-run.json
	$(MAKE) bench-peers

bench-docs: $(VENV)/.ready-test  ## the documents again, from the stored summary
	$(RUN) -m afterlogits.benchmarks.report

bench-peers: .venv-peers/.ready $(VENV)/.ready-test  ## the same work in other engines, added to the stored summary
	.venv-peers/bin/python -m afterlogits.benchmarks --peers --benchmark-json=bench-peers.json $(ARGS)
	$(RUN) -m afterlogits.benchmarks.report --command "make bench-peers" bench-peers.json

train: $(VENV)/.ready  ## the seven checkpoints again, from nothing: at most 25 minutes on two idle cores
	$(RUN) -m afterlogits.adapters.checkpoints.training.train $(ARGS)

train-vision: $(VENV)/.ready  ## the vision checkpoints again, from drawn scenes: at most 30 minutes on two idle cores
	$(RUN) -m afterlogits.adapters.checkpoints.training.pictures.train $(ARGS)

train-audio: $(VENV)/.ready  ## the checkpoints for sounds, documents and pictures in words again; needs espeak-ng; at most 40 minutes on two idle cores
	$(RUN) -m afterlogits.adapters.checkpoints.training.train_media $(ARGS)

clean:
	rm -rf .venv .venv-v4 .venv-v455 .venv-ray .venv-peers .venv-clients .venv-clients-v4 .venv-oldest .venv-newest .venv-triton .venv-wheel build dist *.egg-info src/*.egg-info

# torch goes first and alone: an open range elsewhere would otherwise pull a build with CUDA. pip compiles what it installs:
# two thirds of its work, but where Python may write no bytecode every process would compile all that it imports.
INSTALL = bin/python -m pip install --quiet --disable-pip-version-check
# What builds afterlogits writes into the checkout; .ci/run, whose lanes share one, gives a lock here.
LOCK ?=

# $(call made,ENVIRONMENT,PYTHON): an environment with pip, also where one was left without it when it was being made.
define made
test -x $(1)/bin/python || $(2) -m venv $(1)
$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(1)/bin/python -m ensurepip --upgrade
endef

# $(call begin,ENVIRONMENT,BASE,CONSTRAINTS): with the packages of BASE in place, by links that cost two seconds and no space where an
# installation costs a minute; pip then changes what differs. Empty where there is no BASE. bin holds Python, and the
# programs of what is installed afterwards.
define begin
test -x $(1)/bin/python || ! test -d $(2)/lib || { rm -rf $(1) && mkdir -p $(1) && \
	{ cp -al $(2)/lib $(1)/ 2>/dev/null || cp -R $(2)/lib $(1)/; } && $(2)/bin/python -m venv --without-pip $(1); }
$(call made,$(1),$(PYTHON))
$(1)/$(INSTALL) -c $(3) torch==2.13.0
endef

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("afterlogits needs Python 3.10 or newer; found " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(call made,$(VENV),$(PYTHON))
	$(VENV)/$(INSTALL) -c constraints.txt torch==2.13.0
	$(VENV)/$(INSTALL) -c constraints.txt -e '.[vision,audio]'
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(VENV)/$(INSTALL) -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-test
	$(VENV)/$(INSTALL) -c constraints.txt -e '.[test,dev]'
	touch $@

.venv-v4/.ready-test: pyproject.toml constraints-v4.txt | $(VENV)/.ready-test
	$(call begin,.venv-v4,$(VENV),constraints-v4.txt)
	$(LOCK) .venv-v4/$(INSTALL) --no-deps -e .
	.venv-v4/$(INSTALL) -c constraints-v4.txt 'afterlogits[test]'
	touch $@

# The 4.55.4 environment holds the oracle alone: afterlogits itself needs 4.57 or newer.
.venv-v455/.ready-test: constraints-v455.txt | $(VENV)/.ready-test
	$(call begin,.venv-v455,$(VENV),constraints-v455.txt)
	.venv-v455/bin/python -m pip uninstall --quiet --yes afterlogits
	.venv-v455/$(INSTALL) -c constraints-v455.txt transformers==4.55.4 numpy
	touch $@

# Other projects' programs; those that do not run on transformers 5 have an environment with what they pin.
.venv-clients/.ready: pyproject.toml constraints-clients.txt | $(VENV)/.ready-test
	$(call begin,.venv-clients,$(VENV),constraints-clients.txt)
	$(LOCK) .venv-clients/$(INSTALL) --no-deps -e .
	.venv-clients/$(INSTALL) -c constraints-clients.txt 'afterlogits[test]' accelerate bertopic datasets gradio haystack-ai \
		langchain-huggingface llguidance lm-format-enforcer lm_eval outlines peft sentence-transformers setfit torchao \
		transformers-haystack trl txtai xgrammar
	touch $@

.venv-clients-v4/.ready: pyproject.toml constraints-clients-v4.txt | .venv-v4/.ready-test
	$(call begin,.venv-clients-v4,.venv-v4,constraints-clients-v4.txt)
	$(LOCK) .venv-clients-v4/$(INSTALL) --no-deps -e .
	.venv-clients-v4/$(INSTALL) -c constraints-clients-v4.txt 'afterlogits[test]' datasets 'evaluate[evaluator]' gradio \
		haystack-ai langchain-huggingface lm-format-enforcer 'optimum-onnx[onnxruntime]' peft transformers-haystack trl txtai
	touch $@

# The ends of the promised versions, each on its own Python where one is to be found.
PYTHON_OLDEST ?= $(or $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python)),python3.10)
PYTHON_NEWEST ?= $(or $(lastword $(sort $(wildcard $(HOME)/.pyenv/versions/3.1[1-9].*/bin/python))),$(PYTHON))

.venv-oldest/.ready-test: pyproject.toml constraints-oldest.txt
	$(call made,.venv-oldest,$(PYTHON_OLDEST))
	.venv-oldest/$(INSTALL) -c constraints-oldest.txt torch==2.4.0
	.venv-oldest/$(INSTALL) -c constraints-oldest.txt -e '.[test,gradio]'
	touch $@

.venv-newest/.ready-test: pyproject.toml constraints-newest.txt
	$(call made,.venv-newest,$(PYTHON_NEWEST))
	.venv-newest/$(INSTALL) -c constraints-newest.txt torch
	.venv-newest/$(INSTALL) -c constraints-newest.txt -e '.[test]'
	touch $@

.venv-ray/.ready: pyproject.toml constraints.txt constraints-ray.txt | $(VENV)/.ready-test
	$(call begin,.venv-ray,$(VENV),constraints-ray.txt)
	$(LOCK) .venv-ray/$(INSTALL) --no-deps -e .
	.venv-ray/$(INSTALL) -c constraints-ray.txt 'afterlogits[test,ray]' datasets daft pyspark
	touch $@

.venv-triton/.ready: pyproject.toml constraints.txt constraints-triton.txt | $(VENV)/.ready-test
	$(call begin,.venv-triton,$(VENV),constraints.txt)
	$(LOCK) .venv-triton/$(INSTALL) --no-deps -e .
	.venv-triton/$(INSTALL) -c constraints-triton.txt triton numpy
	touch $@

# Engines to compare with; one that does not install here is left out, and its entries say so.
.venv-peers/.ready: pyproject.toml constraints-peers.txt | $(VENV)/.ready-test
	$(call begin,.venv-peers,$(VENV),constraints-peers.txt)
	$(LOCK) .venv-peers/$(INSTALL) --no-deps -e .
	.venv-peers/$(INSTALL) -c constraints-peers.txt 'afterlogits[test]' ctranslate2 seqeval
	-.venv-peers/$(INSTALL) -c constraints-peers.txt onnxruntime-genai onnx onnx-ir
	-.venv-peers/$(INSTALL) -c constraints-peers.txt llama-cpp-python
	touch $@

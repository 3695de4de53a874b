# Millstream: `make help` lists what there is. Everything is installed into .venv; data of the native stack lives in
# .millstream. STACK=native|compose chooses the stack; unset, compose where a Docker engine answers, else native.

PYTHON ?= python3
STACK ?=
ifneq ($(filter-out native compose,$(STACK)),)
$(error STACK=$(STACK) is neither native nor compose; leave it out for whichever the machine has)
endif
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := scripts/constraints.txt
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
EXTRAS := gateway,worker,torch,persister,migrate,local,models
CODE := client gateway inference_worker persister shared migrations models monitoring scripts tests
INSTALL := $(BIN)/python -m scripts.stack.install

# The chosen stack, asked for only by the targets that need it: an absent engine takes seconds to be sure of.
CHOSEN = $(if $(STACK),$(STACK),$$($(PYTHON) -m scripts.stack.engine))
TORCH = $(shell sed -n 's/^torch==/torch==/p' $(CONSTRAINTS))
# Done by either stack in its own way.
PASSED_ON := down status logs clean streams redis-cli psql migrate admin-key verify-audit
STACK_CLI := $(BIN)/python -m scripts.stack
COMPOSE := docker compose
IMAGES := gateway persister migrate inference-worker inference-worker-openvino models

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

##@ Run it

.PHONY: up
up: check-python ## start everything and wait until it is ready (STACK=native|compose)
	@stack=$(CHOSEN) && $(MAKE) up-$$stack

down: ## drain and stop everything
status: ## the services: state, pid, uptime, restarts, port, ready
logs: ## follow the logs of all services
clean: ## stop, and remove all data and logs
streams: ## every stream: depth, pending, oldest, last entries
redis-cli: ## a redis-cli on the stack's Redis
psql: ## a psql on the stack's database
migrate: ## migrate the database and sync the model catalogue into it
admin-key: ## the first API key: it may do everything, and makes all others (NAME=…)
verify-audit: ## is the audit log whole? (KEPT=NUMBER:DIGEST, of an entry that was kept elsewhere)
.PHONY: $(PASSED_ON)
$(PASSED_ON):
	@stack=$(CHOSEN) && $(MAKE) $@-$$stack

# Where the gateway of the running stack is, asked for only by the targets that need it: URL names another.
URL ?= $(GATEWAY_URL)
AT_GATEWAY = url='$(URL)'; test -n "$$url" || url=$$($(PYTHON) -m scripts.stack.address $(STACK)) || exit 1;

.PHONY: api-key token
api-key: ## make an API key: make api-key NAME=… (SCOPES="predict read", MODELS, TENANT, PROFILE, DAYS)
	@test -n '$(NAME)' || { echo "say of whom it is, as in: make api-key NAME=nightly-batch" >&2; exit 1; }
	@$(AT_GATEWAY) $(PYTHON) -m scripts.api_key "$$url" '$(NAME)' $(if $(SCOPES),--scopes '$(SCOPES)') \
		$(if $(MODELS),--models '$(MODELS)') $(if $(TENANT),--tenant '$(TENANT)') $(if $(PROFILE),--profile '$(PROFILE)') \
		$(addprefix --days ,$(DAYS))
token: ## a token for the stack on this machine, for an hour (SCOPE="predict read", SUBJECT)
	@$(PYTHON) -m scripts.make_token $(if $(SCOPE),'$(SCOPE)') $(if $(SUBJECT),--subject '$(SUBJECT)')

.PHONY: dead-letters replay delete-dead-letter
dead-letters: ## what was given up on, newest first
	@$(AT_GATEWAY) $(PYTHON) -m scripts.dead_letters "$$url"
replay: need-id ## try a dead letter again: make replay ID=…
	@$(AT_GATEWAY) $(PYTHON) -m scripts.dead_letters "$$url" replay '$(ID)'
delete-dead-letter: need-id ## delete one: make delete-dead-letter ID=…
	@$(AT_GATEWAY) $(PYTHON) -m scripts.dead_letters "$$url" delete '$(ID)'
.PHONY: need-id
need-id:
	@test -n '$(ID)' || { echo "name the dead letter, as in: make replay ID=1764000000000-0 (make dead-letters lists them)" >&2; exit 1; }

.PHONY: rollback
rollback: ## take back the newest migrations, with their data: make rollback STEPS=1
	@test -n '$(STEPS)' || { echo "say how many migrations to take back, as in: make rollback STEPS=1 (back up first)" >&2; exit 1; }
	@stack=$(CHOSEN) && $(MAKE) rollback-$$stack

.PHONY: redis-users
redis-users: $(VENV)/.installed ## the users of Redis and their rights, as commands for one of your own (PREFIX=millstream:)
	@$(BIN)/python -m scripts.redis_users $(addprefix --prefix ,$(PREFIX))

.PHONY: env
env: check-python ## make .env with fresh passwords, or add what an older one lacks
	@$(PYTHON) -m scripts.stack.dotenv

##@ Parts

.PHONY: models
models: $(VENV)/.installed ## build the model artifacts (what is there already is kept)
	@$(BIN)/python -m models.build

# ARTIFACTS=baked puts the models into the worker's image; PYTHON_IMAGE, TORCH_INDEX_URL, PIP_FIND_LINKS, BUILD_NETWORK.
# One with CUDA is made only if it is asked for: make image-inference-worker-cuda.
.PHONY: images image-inference-worker-cuda $(addprefix image-,$(IMAGES))
images: need-docker $(addprefix image-,$(IMAGES)) ## build every image, and hold the sizes to their limits (ARTIFACTS=baked)
	@$(PYTHON) -m scripts.image_sizes
IMAGE_ARGS = $(foreach name,PYTHON_IMAGE ARTIFACTS TORCH_INDEX_URL TORCH_CUDA_INDEX_URL PIP_FIND_LINKS,$(if $($(name)),--build-arg $(name)='$($(name))'))
image-inference-worker-cuda: need-docker ## build the worker with CUDA, for GPUs: gigabytes
image-inference-worker-cuda $(addprefix image-,$(IMAGES)): need-docker
	@echo "building millstream/$(@:image-%=%) …"
	@docker build --quiet --network $(or $(BUILD_NETWORK),default) \
		--target $(if $(findstring inference-worker,$@),inference-worker,$(@:image-%=%)) \
		$(patsubst image-inference-worker-%,--build-arg ENGINE=%,$(filter image-inference-worker-%,$@)) \
		--tag millstream/$(@:image-%=%):local $(IMAGE_ARGS) \
		--build-arg VERSION=$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) .

.PHONY: image
image: need-docker $(VENV)/.installed image-inference-worker image-models ## a worker's image with models of yours: make image MODELS=iris (NAME=…)
	@test -n '$(MODELS)' || { echo "say which models, as WORKER_MODELS does, as in: make image MODELS=iris" >&2; exit 1; }
	@$(BIN)/python -m models.image '$(MODELS)' .cache/image
	@docker build --quiet --network $(or $(BUILD_NETWORK),default) --file scripts/image/models.Dockerfile \
		--build-arg MODELS='$(MODELS)' --tag $(or $(NAME),millstream/inference-worker-models:local) .cache/image

.PHONY: train-sentiment
train-sentiment: $(VENV)/.installed ## train the sentiment adapters anew (takes long)
	@$(BIN)/python -m models.train_sentiment

.PHONY: eval engines
eval: models ## measure the sentiment models on held-out texts
	@$(BIN)/python -m models.evaluate
engines: $(VENV)/.installed-dev models ## what each engine makes of the shipped encoders: accuracy, CPU time, start, memory
	@$(BIN)/python -m models.engines

##@ Check it

.PHONY: tools tools-helm
tools: $(VENV)/bin/python ## install helm, kubectl and the checkers of `make validate` into .cache/tools
	@$(BIN)/python -m scripts.tools
tools-helm: $(VENV)/bin/python
	@$(BIN)/python -m scripts.tools helm

.PHONY: test
test: $(VENV)/.installed-dev models tools-helm ## unit, integration and end-to-end tests, with the coverage gates
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder tests/e2e tests/integration tests/unit
	@$(BIN)/coverage combine --quiet
	@$(MAKE) coverage-gate

# The modules that the pipeline's guarantees rest on: each is covered better than the rest.
CRITICAL_MODULES := \
	inference_worker/batching.py \
	inference_worker/held_entries.py \
	inference_worker/lane.py \
	inference_worker/movement.py \
	inference_worker/outcomes.py \
	inference_worker/passes.py \
	inference_worker/triage.py \
	persister/batch_writer.py \
	persister/database.py \
	persister/persister.py \
	persister/rows.py \
	shared/contract/fields.py \
	shared/contract/given.py \
	shared/contract/hints.py \
	shared/contract/messages.py \
	shared/streams/prediction_state.py \
	shared/streams/publishing.py \
	shared/streams/request_stream.py \
	shared/streams/result_stream.py
LEAST_COVERAGE := 85
LEAST_CRITICAL_COVERAGE := 95
.PHONY: coverage-gate
coverage-gate: # of the last run: lines and branches of everything, and of each critical module
	@echo "coverage, lines and branches: $$($(BIN)/coverage report --format=total) % (at least $(LEAST_COVERAGE))"
	@$(BIN)/coverage report --format=total --fail-under=$(LEAST_COVERAGE) >/dev/null
	@for module in $(CRITICAL_MODULES); do \
		report=$$($(BIN)/coverage report --show-missing --include=$$module --fail-under=$(LEAST_CRITICAL_COVERAGE)) \
			|| { echo "$$module is critical:"; echo "$$report"; failed=1; }; \
	done; exit $${failed:-0}

# Against the stack that runs here, or one elsewhere that URL names.
.PHONY: demo smoke e2e
demo: $(VENV)/.installed ## some texts through every model that is served, and a table of what came
	@$(AT_GATEWAY) $(BIN)/python -m scripts.demo "$$url"
smoke: ## a smoke test of a running stack (of one elsewhere: make smoke URL=https://…)
	@$(AT_GATEWAY) $(PYTHON) scripts/smoke.py "$$url"
e2e: $(VENV)/.installed-dev ## the end-to-end tests against a running stack (or make e2e URL=https://…)
	@$(AT_GATEWAY) MILLSTREAM_URL="$$url" $(BIN)/python -m pytest -q tests/deployed

.PHONY: costs
costs: $(VENV)/.installed-dev ## what hostile texts cost each shipped version, against its bounds (COSTS="--only MODEL:VERSION")
	@$(BIN)/python -m models.build
	@$(BIN)/python -m tests.load.costs $(COSTS)

.PHONY: fuzz
fuzz: $(VENV)/.installed-dev ## thousands of requests by the OpenAPI document and against it (FUZZ_SEED, FUZZ_EXAMPLES)
	@$(BIN)/python -m pytest -q -s tests/fuzz
	@STRANGE_EXAMPLES=10000 $(BIN)/python -m pytest -q tests/integration/test_strange_entries.py

.PHONY: mutants
mutants: $(VENV)/.installed-dev ## do the tests notice small faults in critical code? hours (MUTANTS="--sample 200 --seed 1", --only lane)
	@$(BIN)/python -m tests.mutants $(MUTANTS)

.PHONY: coverage
coverage: ## the tests, and an HTML report in htmlcov/ (also where a gate fails)
	@$(MAKE) test; code=$$?; $(BIN)/coverage html --quiet && echo "htmlcov/index.html"; exit $$code

.PHONY: lint
lint: $(VENV)/.installed-dev ## black, isort, flake8, mypy and the import rules
	$(BIN)/black --check $(CODE)
	$(BIN)/isort --check-only --quiet $(CODE)
	$(BIN)/flake8 $(CODE)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_import_rules.py

.PHONY: docs
docs: $(VENV)/.installed-dev ## the documents as a site, in .cache/site; a link that leads nowhere fails it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml
	@echo "open .cache/site/index.html in a browser"

.PHONY: validate
validate: $(VENV)/.installed-dev ## the tools' own checks of manifests, images, workflows, rules, secrets (ONLY=helm: some of them)
	@$(BIN)/python -m scripts.validate $(ONLY)

.PHONY: manifests
manifests: $(VENV)/.installed tools-helm ## make k8s/*.yaml, and the schema and table of values, from k8s/chart/
	@$(BIN)/python -m scripts.kubernetes --write

# torch is left out: the builds for the CPU are other files than those of the default index.
.PHONY: hashes
hashes: $(VENV)/bin/python ## find the hashes of all pinned packages anew, after a change of pins (scripts/hashes.txt)
	@$(BIN)/python -m scripts.tools uv
	@$$($(BIN)/python -m scripts.tools --which uv) pip compile --quiet --no-config --generate-hashes --all-extras \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-package torch \
		$(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu) \
		--custom-compile-command 'make hashes' --constraint $(CONSTRAINTS) --output-file scripts/hashes.txt pyproject.toml

.PHONY: dashboards dashboards-preview
dashboards: $(VENV)/.installed ## make the JSON of the Grafana dashboards from monitoring/dashboards/
	@$(BIN)/python -m monitoring.dashboards --write
dashboards-preview: $(VENV)/.installed-preview ## draw the dashboards into docs/img/, from a stack under load and faults
	@$(BIN)/python -m tests.preview

.PHONY: format
format: $(VENV)/.installed-dev ## black and isort, in place
	@$(BIN)/isort --quiet $(CODE)
	@$(BIN)/black --quiet $(CODE)

.PHONY: bench
bench: $(VENV)/.installed-dev ## measure throughput and latency against a bare handler
	@$(BIN)/python -m tests.load.bench

.PHONY: bench-quick
bench-quick: $(VENV)/.installed-dev ## has it become slower than docs/performance/baseline.json? (BASELINE=--write makes it)
	@$(BIN)/python -m tests.load.quick $(BASELINE)

.PHONY: redis-limit
redis-limit: $(VENV)/.installed-dev ## how far one Redis goes: the scripts of the pipeline by several clients at once
	@$(BIN)/python -m tests.load.redis_limit

.PHONY: hpa-plot
hpa-plot: $(VENV)/.installed-preview ## simulate the autoscalers of k8s/hpa.yaml over a day, and draw it into docs/img/
	@$(BIN)/python -m tests.hpa

.PHONY: chaos
chaos: $(VENV)/.installed-dev ## break everything under load for minutes: nothing lost, double or wrong (CHAOS=--seed=7)
	@$(BIN)/python -m tests.chaos $(CHAOS)

.PHONY: chaos-compose
chaos-compose: need-compose $(VENV)/.installed-dev ## kill, stop and scale the containers of a running stack under load (CHAOS=…)
	@$(BIN)/python -m tests.compose $(addprefix --url ,$(URL)) $(CHAOS)

.PHONY: soak
soak: $(VENV)/.installed-dev ## four minutes of load: does memory, or anything else, grow? (SOAK=--seconds=60)
	@$(BIN)/python -m tests.load.soak $(SOAK)

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the native stack -------------------------------------------------------------------------------------------------

.PHONY: up-native rollback-native $(addsuffix -native,$(PASSED_ON))
up-native:
	@$(PYTHON) -m scripts.stack.preflight start
	@$(PYTHON) -m scripts.stack.alone $(MAKE) $(VENV)/.installed
	@$(STACK_CLI) up
rollback-native:
	@test -f $(VENV)/.installed || { echo "nothing is installed here, so there is no database: make up" >&2; exit 1; }
	@$(STACK_CLI) rollback $(STEPS)
$(addsuffix -native,$(PASSED_ON)):
	@test -f $(VENV)/.installed || { echo "nothing is installed here, so nothing runs: make up" >&2; exit 1; }
	@$(STACK_CLI) $(@:-native=) $(if $(filter admin-key-native,$@),$(NAME)) $(if $(filter verify-audit-native,$@),$(KEPT))

# --- the stack in containers ------------------------------------------------------------------------------------------

.PHONY: need-docker need-compose
need-docker need-compose:
	@$(PYTHON) -m scripts.stack.engine $@

.PHONY: up-compose rollback-compose $(addsuffix -compose,$(PASSED_ON))
up-compose: need-compose env
	@echo "building the images (the first time takes minutes) …"
	@$(COMPOSE) up --detach --build --wait || { $(PYTHON) -m scripts.stack.engine trouble >&2; exit 1; }
	@$(PYTHON) -m scripts.stack.engine summary
down-compose: need-compose env
	@$(COMPOSE) down
status-compose: need-compose env
	@$(COMPOSE) ps --all
logs-compose: need-compose env
	@$(COMPOSE) logs --follow --tail 50
clean-compose: need-compose env
	@$(COMPOSE) down --volumes
streams-compose: need-compose env
	@$(COMPOSE) exec -T redis sh -c 'for key in $$(redis-cli --scan | sort); do \
		[ "$$(redis-cli TYPE $$key)" = stream ] || continue; \
		echo "$$key  depth $$(redis-cli XLEN $$key)"; redis-cli XREVRANGE $$key + - COUNT 3 | cut -c 1-120; done'
redis-cli-compose: need-compose env
	@$(COMPOSE) exec redis redis-cli
psql-compose: need-compose env
	@$(COMPOSE) exec postgres psql -U millstream millstream
migrate-compose: need-compose env
	@$(COMPOSE) run --rm migrate
admin-key-compose: need-compose env
	@$(COMPOSE) exec -T gateway python -m gateway.control.admin_key $(NAME)
verify-audit-compose: need-compose env
	@$(COMPOSE) exec -T gateway python -m gateway.control.verify_audit $(KEPT)
rollback-compose: need-compose env
	@$(COMPOSE) run --rm migrate python -m migrations --rollback $(STEPS)

# --- installing -------------------------------------------------------------------------------------------------------

.PHONY: check-python
check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "millstream: '$(PYTHON)' is not Python 3.11 or later: install one and name it, as in: make PYTHON=python3.11 up" >&2; \
		exit 1; }

$(VENV)/bin/python: | check-python
	@$(PYTHON) -m scripts.stack.preflight
	@echo "making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

# PyTorch's own index has CPU builds, the default one may pull gigabytes of CUDA. It is asked for torch alone: where it
# can't be reached, each package asked of it would cost seconds of retries.
$(VENV)/.installed: pyproject.toml client/pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "installing PyTorch (CPU) …"
	@$(INSTALL) --no-deps --index-url $(TORCH_INDEX_URL) --retries 0 --timeout 10 '$(TORCH)' 2>/dev/null \
		|| $(INSTALL) --no-deps '$(TORCH)'
	@echo "installing the other packages …"
	@$(INSTALL) --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS)]' --editable './client[cli]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools …"
	@$(INSTALL) --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS),dev]'
	@touch $@

$(VENV)/.installed-preview: $(VENV)/.installed-dev
	@$(INSTALL) --constraint $(CONSTRAINTS) --editable '.[preview]'
	@touch $@

# `make help` lists the targets. The work is done elsewhere: the environment is made by
# deploy/local/environment.sh; operators' targets are shortcuts for deploy/gachactl.

PYTHON := .venv/bin/python
GACHACTL := $(PYTHON) -m deploy.gachactl
.DEFAULT_GOAL := help
.PHONY: help up down status roll upgrade renew rotate-keys tx sagas logins reconcile admin-token clean test check bench faults chaos fuzz generate picture lock embedded dev

# Variables count only if they are given to make: the environment may have a PORT or a NAME for
# something else. An empty value means that the variable is not given.
named = $(filter command line,$(origin $(1)))
given = $(if $(call named,$(1)),$(strip $(value $(1))))
ON := 1 yes on true
OFF := 0 no off false
SWITCHES := TLS DETACH PRUNE YES FORGIVE FOLLOW MUTANTS UPGRADE
on = $(filter $(ON),$(call given,$(1)))
PROFILE_OPTION = $(if $(call given,PROFILE),--profile $(PROFILE))
TLS_OPTION = $(if $(call on,TLS),--tls)
GATEWAYS_OPTION = $(if $(call given,GATEWAYS),--gateways $(GATEWAYS))
PORT_OPTION = $(if $(call given,PORT),--port $(PORT))
MINUTES_OPTION = $(if $(call given,MINUTES),--minutes $(MINUTES))
SEED_OPTION = $(if $(call given,SEED),--seed $(SEED))

# Any other variable would be ignored, and another action run than was meant: it is an error.
VARIABLES_up := PORT GATEWAYS PROFILE TLS DETACH
VARIABLES_rotate-keys := REVOKE PRUNE
VARIABLES_tx := GID YES
VARIABLES_sagas := ID
VARIABLES_logins := NAME FORGIVE
VARIABLES_reconcile := DAYS FOLLOW
VARIABLES_admin-token := FOR
VARIABLES_test := ARGS
VARIABLES_bench := ARGS
VARIABLES_faults := MINUTES SEED MUTANTS ARGS
VARIABLES_fuzz := SEED ARGS
VARIABLES_chaos := MINUTES SEED PROFILE ARGS
VARIABLES_lock := UPGRADE
VARIABLES_clean := YES
USED := $(foreach target,$(MAKECMDGOALS),$(VARIABLES_$(target)))
MISTAKEN := $(foreach _each,$(filter-out $(USED) PYTHON SHELL MAKEFLAGS,$(.VARIABLES)),$(if $(call named,$(_each)),$(_each)))
$(if $(strip $(MISTAKEN)),$(error make $(or $(MAKECMDGOALS),help) does not use $(strip $(MISTAKEN)). It uses: $(or $(strip $(USED)),no variables)))
$(foreach name,$(SWITCHES),$(if $(filter-out 0 1,$(words $(call given,$(name))))$(filter-out $(ON) $(OFF),$(call given,$(name))),$(error $(name)=$(call given,$(name)) is no switch: use $(name)=1 (or: $(filter-out 1,$(ON))) or $(name)=0 (or: $(filter-out 0,$(OFF)), nothing))))
$(foreach name,FOR GID ID NAME REVOKE,$(if $(call named,$(name)),$(if $(call given,$(name)),,$(error $(name)= is empty: give it a value, or leave it out))))
$(if $(call on,FORGIVE),$(if $(call given,NAME),,$(error FORGIVE=1 needs NAME=..., the account to let in again)))
$(if $(filter tx,$(MAKECMDGOALS)),$(if $(call on,YES),$(if $(call given,GID),,$(error YES=1 needs GID=..., the transaction to settle))))

# Targets with IF_MADE never install anything: without an environment nothing can be running.
# An interrupted installation may have left a gachactl that works.
NOTHING_RUNS = 3
down: NOTHING_RUNS = 0
clean: NOTHING_RUNS = $(if $(wildcard var),3,0)
IF_MADE = [ -x $(PYTHON) ] || [ -e .venv.unfinished ] || { echo "Nothing runs: there is no environment yet (.venv). 'make up' makes it." >&2; exit $(NOTHING_RUNS); }; \
	[ ! -e .venv.unfinished ] || $(PYTHON) -c 'import deploy.gachactl.app' 2>/dev/null || { echo "The environment (.venv) is not complete: its installation was interrupted, or is running. 'make up' or 'make test' completes it." >&2; exit 1; }; exec $(GACHACTL)

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r target line; do printf '  make %-11s %s\n' "$$target" "$$line"; done

up: embedded ## run the whole mesh until Ctrl-C (PORT=9000 another port, GATEWAYS=2, PROFILE=ha, TLS=1, DETACH=1)
	@exec $(GACHACTL) up $(PORT_OPTION) $(GATEWAYS_OPTION) $(PROFILE_OPTION) $(TLS_OPTION) $(if $(call on,DETACH),--detach,--with-parent)

down: ## stop the running mesh, and wait until all its processes have ended
	@$(IF_MADE) down

status: ## show what runs where, and whether it is healthy
	@$(IF_MADE) status

roll: ## restart every process of a running mesh one by one, while it serves
	@$(IF_MADE) roll

# Without a running mesh there is nothing to upgrade: `make up` starts from the present code.
upgrade: embedded ## start a running mesh anew from the present code: packages, schemas, processes (after git pull)
	@exec $(GACHACTL) upgrade

renew: ## renew the certificates of a mesh with TLS=1, while it serves
	@$(IF_MADE) renew

rotate-keys: ## change the key that signs players' tokens, while the mesh serves (REVOKE=kid removes a leaked key, PRUNE=1 expired ones)
	@$(IF_MADE) rotate-keys $(if $(call given,REVOKE),--revoke="$$REVOKE") $(if $(call on,PRUNE),--prune)

# GID is passed in the environment, where make puts it, so the shell does not interpret it.
tx: ## list transactions in flight and in doubt (GID=... settles one by the protocol, YES=1 without asking)
	@$(IF_MADE) tx $(if $(call given,GID),resolve $(if $(call on,YES),--yes) -- "$$GID",list)

sagas: ## list purchases, clawbacks and gifts that are under way or parked (ID=... retries one)
	@$(IF_MADE) sagas $(if $(call given,ID),retry -- "$$ID",list)

logins: ## show failed logins (NAME=... of one account, FORGIVE=1 unblocks it)
	@$(IF_MADE) logins $(if $(call given,NAME),$(if $(call on,FORGIVE),forgive,show) -- "$$NAME",summary)

reconcile: ## compare the payment provider, the purchases and the ledger (DAYS=30, FOLLOW=1 follows missed refunds and disputes)
	@$(IF_MADE) reconcile $(if $(call given,DAYS),--days=$(DAYS)) $(if $(call on,FOLLOW),--follow)

admin-token: ## print a token for an operator's calls, valid for a minute (curl -H "Authorization: Bearer ..."; FOR=account_svc)
	@$(IF_MADE) admin-token $(if $(call given,FOR),--for "$$FOR")

clean: ## delete all data, secrets and logs of the mesh (var/), after asking (YES=1 without)
	@$(IF_MADE) clean $(if $(call on,YES),--yes)

# Most tests wait for other processes, so two run in parallel even on two cores.
test: dev ## run all tests, on free ports and in their own folders (ARGS='-k pull' selects, '-n 0' runs one by one)
	@exec $(PYTHON) -m pytest -n 2 $(ARGS)

check: dev ## ruff, strict mypy, import directions, generated code
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m pytest -q tests/architecture

bench: dev ## measure pulls and reads per second, and the cost of each (ARGS='--only pulls', '--against REV' compares)
	@exec $(PYTHON) -m proof.bench $(ARGS)

faults: dev ## inject faults into a mesh under load for MINUTES=5, and check that nothing is lost (SEED=..., MUTANTS=1)
	@exec $(PYTHON) -m proof.faults $(MINUTES_OPTION) $(SEED_OPTION) $(if $(call on,MUTANTS),--mutants) $(ARGS)

fuzz: dev ## send random input to every REST route and gRPC method (SEED=..., ARGS='--messages 5000')
	@exec $(PYTHON) -m proof.fuzz $(SEED_OPTION) $(ARGS)

chaos: dev ## kill or freeze one process after the other under load; callers must see no error (MINUTES=5, SEED=, PROFILE=ha)
	@exec $(PYTHON) -m proof.chaos $(PROFILE_OPTION) $(MINUTES_OPTION) $(SEED_OPTION) $(ARGS)

generate: dev ## make the generated code from the protos
	@exec $(PYTHON) -m protos.generate

picture: dev ## redraw the pictures of the code in ARCHITECTURE.md
	@exec $(PYTHON) -m proof.architecture

lock: dev ## update uv.lock and requirements/ from pyproject.toml (UPGRADE=1 takes the newest versions)
	@exec $(PYTHON) -m deploy.packages.lock $(if $(call on,UPGRADE),--upgrade)

embedded dev:
	@sh deploy/local/environment.sh $@

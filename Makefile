# make generate   bring generated/ to the pin; TAG=v7.4 moves the pin, FROM=SOURCE says from where
# make picture    write docs/assets/report.png, the report that README.md shows, with Chromium
# make pages      write the manual pages and completions that the wheel installs, docs/lint.md and
#                 docs/shields.md
# make test       the whole test suite, on all CPUs
# make quick     the tests of what changed, the nearest first, for a minute at most; BASE=main says
#                 since when
# make test-long  what `make test` leaves out: more sizes, older releases, the policies of ../shared
# make test-root  as root, what `make test` can show to nobody else
# make test-kernels   try the filters on kernels of nine architectures, under QEMU, and write
#                 docs/kernels.md; REFRESH=1 asks for the newest of these kernels
# make test-ecosystem   the tests that need compilers, containers and servers
# make test-weekly   what all of these leave out: more sizes and ABIs, all attacks and more policies
#                 in each guest, more compilers, two Debians, the container image; an hour or more
# make check      freshness, lint, types, proofs, tests
# make workloads   record small runs of thirty programs, enforce richer ones; writes docs/workloads.md
# make evidence   count what the tests of the proofs try, on all ABIs; writes docs/evidence.md
# make site       build the documentation's pages in build/site; a warning is an error
# make bench      measure against other tools, write benchmarks/RESULTS.md; ARGS="--only docker -o DIR"
# make bench-optimum  measure small programs against the shortest possible, write
#                 benchmarks/OPTIMUM.md; half an hour
# make bench-compile  measure how long compiling takes, write benchmarks/COMPILING.md;
#                 ARGS="outliers" or ARGS="random --policies 100 --every" for random policies
# make bench-scan  scan 45 programs of Debian, PyPI and npm, write benchmarks/SCANNING.md; 2 GB
# make bench-record   measure record against strace, write benchmarks/RECORD.md
# make userlands      run programs in later Debians under filters recorded in Debian 11, write
#                 docs/userlands.md; an hour, as root; ARGS="--only redis --land trixie"
# make pythons    try the wheel with every Python that can be had, free-threaded ones too, write the
#                 table in docs/installing.md; as root; ARGS="--only 3.14t --no-tests"
# make release VERSION=0.2.0 DATE=2026-12-01   commit the version, check everything, build dist/; the
#                 first says where it is published: REPOSITORY=https://... SITE=https://...
# Each does the set-up it needs, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TAG ?=
FROM ?=
ARGS ?=
REFRESH ?=
BASE ?=
VERSION ?=
DATE ?=
REPOSITORY ?=
SITE ?=

.PHONY: generate picture pages companions test test-root test-long quick test-kernels test-ecosystem test-weekly check bench bench-optimum bench-compile bench-record bench-scan userlands pythons evidence workloads lint types proof fresh site pins release system qemu ecosystem debootstrap npm clean

generate: $(READY)
	$(BIN)/seccompgen tables $(if $(TAG),--tag $(TAG)) $(if $(FROM),--from $(FROM))

picture: $(READY)
	$(BIN)/python -m website.picture

# What the wheel installs below share/: manual pages of the commands, and completion scripts; also
# docs/lint.md, from lint's rules, docs/shields.md, the tables of keys in docs/, and the filter that
# the example in Rust commits.
COMMITTED := examples/rust/untrusted.yml --format rust -o examples/rust/src
pages: $(READY)
	$(BIN)/python -m release.pages
	$(BIN)/python -m website.key_tables
	$(BIN)/seccompgen build $(COMMITTED)

# From the packages that its lock names; ARGS=--update takes newer ones.
companions: $(READY)
	PYTHONPATH=tests:generator $(BIN)/python -m companions $(ARGS)

# A budget for all tests together, in minutes of CPU, and for each worker, in MB; one test may use what
# helpers/cpu_budget.py says.
test: $(READY) system
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --cpu-minutes 9 --worker-megabytes 650

test-long: $(READY) system
	$(BIN)/pytest -m "long and not (weekly or ecosystem)" -n auto --dist loadfile --no-loadscope-reorder --cpu-minutes 30 --worker-megabytes 1000

# As root. An ordinary user's `make test` skips these, root's runs them as well.
test-root: $(READY) system
	test "$$(id -u)" = 0
	$(BIN)/pytest -m "root and not (kernels or ecosystem or long)" -n auto --dist loadfile --no-loadscope-reorder

quick: $(READY)
	$(if $(BASE),BASE=$(BASE)) $(BIN)/python tests/helpers/quick.py

# One guest for each of two processors at a time. A guest may take five minutes of its own, and more
# where others keep it waiting, which the emulator's limit knows and pytest's does not.
test-kernels: $(READY) qemu
	rm -rf build/kernels
	$(if $(REFRESH),PYTHONPATH=tests/helpers:tests $(BIN)/python -c 'from guests.packages import refresh; refresh()')
	$(BIN)/pytest -m kernels -o faulthandler_timeout=900 -n 2 --dist worksteal tests/guests
	PYTHONPATH=tests/helpers:tests $(BIN)/python -m guests.matrix

# One worker more than there are processors: servers are waited for.
ECOSYSTEM_TESTS := -n 3 --dist loadfile --no-loadscope-reorder tests/ecosystem
test-ecosystem: $(VENV)/.ecosystem $(VENV)/.site system ecosystem npm
	$(BIN)/pytest -m "ecosystem and not long" $(ECOSYSTEM_TESTS) --cpu-minutes 20

# The page of kernels is left as it is: it tells what `make test-kernels` tries.
test-weekly: $(VENV)/.ecosystem $(VENV)/.site system ecosystem debootstrap qemu
	GUESTS=all $(BIN)/pytest -m kernels -o faulthandler_timeout=1800 -n 2 --dist worksteal tests/guests
	$(BIN)/pytest -m "ecosystem and long" $(ECOSYSTEM_TESTS)
	$(BIN)/pytest -m "weekly and not ecosystem" -n auto --dist loadfile --no-loadscope-reorder

check: fresh lint types proof test

fresh: $(READY)
	$(BIN)/seccompgen tables --check
	$(BIN)/python -m release.pages --check
	$(BIN)/seccompgen build $(COMMITTED) --check

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache

types: $(READY)
	$(BIN)/mypy

# Every committed module, on every ABI, against its policy.
proof: $(READY)
	$(BIN)/seccompgen verify

# From docs/, and from the code. Paths are relative to the page, so a mirror needs no settings.
site: $(VENV)/.site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir build/site $(ARGS)

evidence: $(READY) system
	PYTHONPATH=tests/helpers:tests $(BIN)/python tests/verify/evidence.py $(ARGS) > docs/evidence.md.new
	mv docs/evidence.md.new docs/evidence.md

workloads: $(READY) system ecosystem
	PYTHONPATH=tests/helpers $(BIN)/python tests/ecosystem/small_and_rich.py $(ARGS) > docs/workloads.md.new
	mv docs/workloads.md.new docs/workloads.md

bench: $(VENV)/.bench system
	$(BIN)/python -m benchmarks $(ARGS)

bench-optimum: $(READY)
	$(BIN)/python -m benchmarks.optimum $(ARGS)

bench-compile: $(VENV)/.bench
	$(BIN)/python -m benchmarks.compiling $(or $(ARGS),curves)

bench-scan: $(READY) qemu npm
	$(BIN)/python -m benchmarks.scanning build/scanned $(ARGS)
	$(BIN)/python -m benchmarks.scanning.workloads build/scanned

bench-record: $(READY) system
	$(BIN)/python -m benchmarks.record $(ARGS)

$(VENV)/.site: $(READY) requirements/site.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/site.txt
	touch $@

userlands: $(READY) debootstrap
	$(BIN)/python -m benchmarks.userlands $(ARGS)

pythons: $(READY) debootstrap
	PYTHONPATH=tests/helpers $(BIN)/python -m release.pythons $(ARGS)

$(VENV)/.bench: $(READY) requirements/bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

# What npm has: the language server that editors have for YAML, the rules of accessibility for reports,
# a sandbox of agents. Without one of them, its tests are skipped. Node trusts its own certificates
# alone, unless it is told of the system's.
NPM := editor report agents
npm: export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)
npm:
	@if ! command -v npm >/dev/null; then echo "no npm, so some things are skipped: $(NPM)"; \
	else $(MAKE) --no-print-directory --keep-going $(NPM:%=build/%/.ready) || echo "npm did not fetch all, so some things are skipped"; fi

build/%/.ready: requirements/%/package-lock.json
	mkdir -p build/$*
	cp requirements/$*/package.json requirements/$*/package-lock.json build/$*
	npm ci --prefix build/$* --silent --no-audit --no-fund
	touch $@

$(VENV)/.ecosystem: $(READY) requirements/ecosystem.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/ecosystem.txt
	touch $@

# The pins are hashed: what is not in the file, or differs from it, does not install.
$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) is not there, or cannot make environments. On Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.13 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@# hatchling loads the plugins that an earlier install named, which may have moved since.
	$(BIN)/python -m pip uninstall --quiet --yes seccompgen 2>/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# What tests and benchmarks need besides Python: curl, a C compiler, ninja, the kernel headers of
# many architectures, the system's Python, and libseccomp as a peer; the second, emulators; the third,
# what filters are handed to.
# Without the right to install, what needs them is skipped and says so.
SYSTEM := curl gcc libc6-dev libseccomp2 linux-libc-dev ninja-build pypy3 python3 python3-seccomp python3-venv strace
QEMU := gcc libc6-dev linux-libc-dev qemu-system-arm qemu-system-mips qemu-system-misc qemu-system-ppc qemu-system-x86 rustc zstd
ECOSYSTEM := bazel-bootstrap bison bubblewrap busybox-static cargo chromium chromium-headless-shell clang crun curl debootstrap dnsmasq-base docker-cli docker.io fish flex g++ gcc gcc-aarch64-linux-gnu git gnupg golang-github-opencontainers-specs-dev golang-go groff-base iproute2 jq libc6-dev-arm64-cross libc6-dev-i386 libimage-exiftool-perl librust-libc-dev librust-serde-derive-dev librust-serde-json-dev lighttpd lua-socket lua5.4 man-db mandoc memcached mksh mosquitto mosquitto-clients musl-tools nginx-light patchelf podman postgresql redis-server ripgrep rsync runc rustc rustfmt socat sqlite3 strace systemd tcl xz-utils zsh
DEBOOTSTRAP := debootstrap iproute2 util-linux
system: PACKAGES = $(SYSTEM)
qemu: PACKAGES = $(QEMU)
ecosystem: PACKAGES = $(ECOSYSTEM)
debootstrap: PACKAGES = $(DEBOOTSTRAP)
system qemu ecosystem debootstrap:
	@if command -v dpkg >/dev/null && ! dpkg -s $(PACKAGES) >/dev/null 2>&1; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(PACKAGES); \
	  else \
	    echo "not all installed, so some things are skipped: $(PACKAGES)"; \
	  fi; \
	fi

# Needs uv: the one tool that resolves for all Python versions at once. The second file agrees
# with the first, so that one environment can have both.
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --custom-compile-command "make pins"
pins:
	$(COMPILE) --extra dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) --extra bench --constraint requirements/dev.txt -o requirements/bench.txt pyproject.toml
	$(COMPILE) --extra ecosystem --constraint requirements/dev.txt -o requirements/ecosystem.txt pyproject.toml
	$(COMPILE) --extra site --constraint requirements/dev.txt --constraint requirements/ecosystem.txt -o requirements/site.txt pyproject.toml

# Commits the version, checks everything, builds dist/ twice and compares; it publishes nothing.
release: $(READY)
	$(if $(VERSION),,$(error say VERSION=0.2.0 DATE=YYYY-MM-DD))
	$(BIN)/python -m release.prepare $(VERSION) $(if $(DATE),--date $(DATE)) $(if $(REPOSITORY),--repository $(REPOSITORY)) $(if $(SITE),--site $(SITE)) $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

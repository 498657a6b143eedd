# Builds, tests, installs and packages bk, for Linux. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
TARGET  := $(or $(CARGO_TARGET_DIR),target)
OUT     := $(TARGET)/release
# BUNDLED=1 builds DuckDB from source into each program: 45 minutes on two cores.
BUNDLED ?=
FEATURES := $(if $(BUNDLED),--features bk-store/bundled)

# DuckDB's official shared library, from the npm package of its Node.js binding.
# The registry this was pinned from has 1.5.6 for x86-64 alone; that for ARM
# is at 1.5.5, which has the same C interface and the same file format.
MACHINE := $(shell uname -m)
ifeq ($(MACHINE),x86_64)
  NPM_PACKAGE := @duckdb/node-bindings-linux-x64@1.5.6-r.1
  NPM_SHA256  := 1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff
else ifeq ($(MACHINE),aarch64)
  NPM_PACKAGE := @duckdb/node-bindings-linux-arm64@1.5.5-r.5
  NPM_SHA256  := 3b85f3ea438f7dc3691d7b5e6e4222ffe9127fd17885f96ca72e0c99925c348e
endif
LIBDUCKDB := libduckdb.so

VERSION   = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
PACKAGES := $(abspath target/package)
NAME      = bk-$(VERSION)-linux-$(MACHINE)
# The smallest; the tests take none, which is quicker.
DEB_COMPRESSION ?= xz
DEB_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(MACHINE)))

PROGRAMS := $(notdir $(wildcard bins/*))
# What tests/demo.sh runs.
DEMO := bk-create bk-ls
MAN_PAGES := $(notdir $(wildcard man/*))

BIN  := $(DESTDIR)$(PREFIX)/bin
LIB  := $(DESTDIR)$(PREFIX)/lib/bk
MAN  := $(DESTDIR)$(PREFIX)/share/man
BASH := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH  := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
UNIT := $(DESTDIR)$(PREFIX)/lib/systemd/system
DOC  := $(DESTDIR)$(PREFIX)/share/doc/bk
UNITS := $(notdir $(wildcard bins/bk-auto/systemd/*))

# Tests wait for disks and locks more than for cores.
export RUST_TEST_THREADS ?= 8

.PHONY: all build libduckdb tools test test-long check soak bench install uninstall package clean demo help
all: build

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

tools:
	@command -v $(CARGO) >/dev/null || { echo "bk: cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "bk: a C compiler is missing: install gcc or clang" >&2; exit 1; }

libduckdb: tools $(if $(BUNDLED),,target/libduckdb/$(LIBDUCKDB)) ## fetch DuckDB's shared library (DUCKDB_LIB_DIR=DIR takes it from DIR)
	@if [ -z "$(BUNDLED)" ] && [ "$(abspath $(TARGET))" != "$(abspath target)" ]; then \
	  mkdir -p "$(TARGET)" && ln -sfn "$(abspath target/libduckdb)" "$(TARGET)/libduckdb"; fi

target/libduckdb/$(LIBDUCKDB):
ifneq ($(DUCKDB_LIB_DIR),)
	@mkdir -p target/libduckdb && cp "$(DUCKDB_LIB_DIR)/$(LIBDUCKDB)" $@
else
	@test -n "$(NPM_PACKAGE)" || { echo "bk: no libduckdb is known for $(MACHINE): say make DUCKDB_LIB_DIR=DIR or make BUNDLED=1" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "bk: npm is missing: install Node.js, or say make DUCKDB_LIB_DIR=DIR with $(LIBDUCKDB) in DIR" >&2; exit 1; }
	@mkdir -p target/libduckdb/fetch
	@cd target/libduckdb/fetch && rm -f *.tgz && npm pack --silent $(NPM_PACKAGE) >/dev/null
	@cd target/libduckdb/fetch && echo "$(NPM_SHA256)  $$(ls *.tgz)" | sha256sum -c - >/dev/null \
	  || { echo "bk: $(NPM_PACKAGE) is not the file whose SHA-256 stands in the Makefile" >&2; exit 1; }
	@tar xzf target/libduckdb/fetch/*.tgz -C target/libduckdb/fetch package/$(LIBDUCKDB)
	@mv target/libduckdb/fetch/package/$(LIBDUCKDB) $@ && touch $@ && rm -r target/libduckdb/fetch
endif

build: libduckdb ## build the programs (BUNDLED=1: with DuckDB from source)
	$(CARGO) build --release --workspace $(FEATURES)

check: libduckdb ## formatting, clippy with warnings denied, man pages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets $(FEATURES) -- -D warnings
	@if command -v mandoc >/dev/null; then mandoc -Tlint -W warning man/*; \
	elif command -v groff >/dev/null; then for page in man/*; do \
	  groff -mdoc -ww -Tutf8 $$page 2>&1 >/dev/null | { ! grep .; } || exit 1; done; \
	else echo "skipped: neither mandoc nor groff is installed to check the man pages"; fi

test: check build ## check, build, all tests but the long ones
	$(CARGO) test --release --workspace $(FEATURES)

test-long: check build ## all tests, and each case of them
	BK_TESTS_LONG=1 $(CARGO) test --release --workspace --no-fail-fast $(FEATURES) -- --include-ignored

soak: build ## a simulated year of jobs with kills and full disks, held against a model (SOAK='--days 30 --seed 7')
	python3 tests/soak.py $(OUT) $(SOAK)

bench: build ## measure against tar, restic, borg and rclone
	python3 tests/bench.py $(OUT)

# No more than it runs: the rest, with what bk-push sends with, takes minutes.
demo: libduckdb ## back this source tree up, list it, unpack it with plain tar
	$(CARGO) build --release $(DEMO:%=-p %) $(FEATURES)
	@echo "make build builds the other programs"
	@sh tests/demo.sh $(abspath $(OUT)) $(abspath target/demo)

install: build ## install under $(DESTDIR)$(PREFIX)
	install -d $(BIN) $(BASH) $(ZSH) $(FISH) $(UNIT) $(DOC)
	install -m 644 LICENSE $(DOC)/copyright
	install -s -m 755 $(PROGRAMS:%=$(OUT)/%) $(BIN)
	@if [ -z "$(BUNDLED)" ]; then \
	  install -d $(LIB) && install -s -m 644 target/libduckdb/$(LIBDUCKDB) $(LIB); fi
	@for page in $(MAN_PAGES); do \
	  install -d $(MAN)/man$${page##*.} && install -m 644 man/$$page $(MAN)/man$${page##*.} || exit 1; done
	@for unit in $(UNITS); do \
	  sed 's|@BIN@|$(subst %,%%,$(PREFIX))/bin|' bins/bk-auto/systemd/$$unit >$(UNIT)/$$unit && \
	  chmod 644 $(UNIT)/$$unit || exit 1; done
	@for program in $(PROGRAMS); do \
	  $(OUT)/$$program --completions bash >$(BASH)/$$program && \
	  $(OUT)/$$program --completions zsh >$(ZSH)/_$$program && \
	  $(OUT)/$$program --completions fish >$(FISH)/$$program.fish || exit 1; done

uninstall: ## remove what install put there
	rm -f $(PROGRAMS:%=$(BIN)/%) $(LIB)/$(LIBDUCKDB) $(PROGRAMS:%=$(BASH)/%) $(PROGRAMS:%=$(ZSH)/_%) $(PROGRAMS:%=$(FISH)/%.fish)
	rm -f $(foreach page,$(MAN_PAGES),$(MAN)/man$(lastword $(subst ., ,$(page)))/$(page))
	rm -f $(UNITS:%=$(UNIT)/%) $(DOC)/copyright
	-@rmdir $(LIB) $(DOC) 2>/dev/null || true

package: build ## make a .deb and a .tar.gz, which need no Rust, in target/package
	rm -rf $(PACKAGES) && mkdir -p $(PACKAGES)
	$(MAKE) -s install DESTDIR=$(PACKAGES)/tree PREFIX=/usr/local
	mv $(PACKAGES)/tree/usr/local $(PACKAGES)/$(NAME)
	tar --owner=0 --group=0 --numeric-owner -C $(PACKAGES) -czf $(PACKAGES)/$(NAME).tar.gz $(NAME)
	$(MAKE) -s install DESTDIR=$(PACKAGES)/deb PREFIX=/usr
	mkdir $(PACKAGES)/deb/DEBIAN
	@printf '%s\n' 'Package: bk' 'Version: $(VERSION)' 'Architecture: $(DEB_ARCH)' \
	  'Maintainer: the authors of bk <bk@localhost>' 'Section: admin' 'Priority: optional' \
	  'Depends: libc6 (>= '"$$(ldd --version | sed -n '1s/.* //p')"'), libgcc-s1, libstdc++6' \
	  'Description: backups as plain tar.gz files, in pipes' \
	  ' Small programs that make, list, check, thin, move and restore backups of' \
	  ' directories, and join with pipes of JSON lines.' >$(PACKAGES)/deb/DEBIAN/control
	dpkg-deb -Z$(DEB_COMPRESSION) --root-owner-group --build $(PACKAGES)/deb $(PACKAGES)/bk_$(VERSION)_$(DEB_ARCH).deb >/dev/null
	rm -r $(PACKAGES)/tree $(PACKAGES)/deb $(PACKAGES)/$(NAME)
	@ls -l $(PACKAGES)

clean: ## remove what was built
	$(CARGO) clean
	rm -rf target

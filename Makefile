# Builds, tests and installs bk. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
TARGET  := $(or $(CARGO_TARGET_DIR),target)
OUT     := $(TARGET)/release

# DuckDB's official shared library, from the npm package of its Node.js binding.
# The registry this was pinned from has 1.5.6 for Linux x86-64 alone; the others
# are at 1.5.5, which has the same C interface and the same file format.
PLATFORM := $(shell uname -s)-$(shell uname -m)
ifeq ($(PLATFORM),Linux-x86_64)
  NPM_PACKAGE := @duckdb/node-bindings-linux-x64@1.5.6-r.1
  NPM_SHA256  := 1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff
else ifeq ($(PLATFORM),Linux-aarch64)
  NPM_PACKAGE := @duckdb/node-bindings-linux-arm64@1.5.5-r.5
  NPM_SHA256  := 3b85f3ea438f7dc3691d7b5e6e4222ffe9127fd17885f96ca72e0c99925c348e
else ifeq ($(PLATFORM),Darwin-arm64)
  NPM_PACKAGE := @duckdb/node-bindings-darwin-arm64@1.5.5-r.5
  NPM_SHA256  := 08b3cfd7d4d620a5fb67ef49db28551b767107266af3a8e2600e49d99ee59456
else ifeq ($(PLATFORM),Darwin-x86_64)
  NPM_PACKAGE := @duckdb/node-bindings-darwin-x64@1.5.5-r.5
  NPM_SHA256  := 1266f62ac7c02f7971554a2b0b2c4c19923a97258bfdf1b203873e174e7a28c4
endif
ifeq ($(shell uname -s),Darwin)
  LIBDUCKDB := libduckdb.dylib
  SHA256    := shasum -a 256
else
  LIBDUCKDB := libduckdb.so
  SHA256    := sha256sum
endif

PROGRAMS := $(notdir $(wildcard bins/*))

.PHONY: all build libduckdb tools test check install uninstall clean demo help
all: build

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 12

tools:
	@command -v $(CARGO) >/dev/null || { echo "bk: cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "bk: a C compiler is missing: install gcc or clang" >&2; exit 1; }

libduckdb: tools target/libduckdb/$(LIBDUCKDB) ## fetch DuckDB's shared library
	@if [ "$(abspath $(TARGET))" != "$(abspath target)" ]; then \
	  mkdir -p "$(TARGET)" && ln -sfn "$(abspath target/libduckdb)" "$(TARGET)/libduckdb"; fi

target/libduckdb/$(LIBDUCKDB):
	@test -n "$(NPM_PACKAGE)" || { echo "bk: no libduckdb is known for $(PLATFORM): put one into target/libduckdb/" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "bk: npm is missing: install Node.js, or put $(LIBDUCKDB) into target/libduckdb/" >&2; exit 1; }
	@mkdir -p target/libduckdb/fetch
	@cd target/libduckdb/fetch && rm -f *.tgz && npm pack --silent $(NPM_PACKAGE) >/dev/null
	@cd target/libduckdb/fetch && echo "$(NPM_SHA256)  $$(ls *.tgz)" | $(SHA256) -c - >/dev/null \
	  || { echo "bk: $(NPM_PACKAGE) is not the file whose SHA-256 stands in the Makefile" >&2; exit 1; }
	@tar xzf target/libduckdb/fetch/*.tgz -C target/libduckdb/fetch package/$(LIBDUCKDB)
	@mv target/libduckdb/fetch/package/$(LIBDUCKDB) $@ && touch $@ && rm -r target/libduckdb/fetch

build: libduckdb ## build the programs
	$(CARGO) build --release --workspace

check: libduckdb ## formatting, clippy with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

test: check build ## check, build, all tests
	$(CARGO) test --release --workspace

install: build ## install under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/bk
	install -m 755 $(PROGRAMS:%=$(OUT)/%) $(DESTDIR)$(PREFIX)/bin
	install -m 644 target/libduckdb/$(LIBDUCKDB) $(DESTDIR)$(PREFIX)/lib/bk

uninstall: ## remove what install put there
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) $(DESTDIR)$(PREFIX)/lib/bk/$(LIBDUCKDB)
	-rmdir $(DESTDIR)$(PREFIX)/lib/bk

clean: ## remove what was built
	rm -rf $(TARGET)

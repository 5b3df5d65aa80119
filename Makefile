# Two commands do all the set-up: `make demo` runs a small utility, `make test` runs everything.
# The rest are their parts. Tools are installed by scripts/setup when they are missing.

SPEED ?=
HOUSES ?=
DAYS ?=
ARGS ?=

DEMO_ARGS = $(if $(SPEED),--speed $(SPEED)) $(if $(HOUSES),--houses $(HOUSES)) $(if $(DAYS),--days $(DAYS)) $(ARGS)

.PHONY: demo test build console bench fuzz rounds

demo: console
	@scripts/setup build
	cargo run --release --locked --package gridloom -- demo $(DEMO_ARGS)

test: console
	@scripts/setup build test
	cargo xtask ci
	scripts/test-interop
	scripts/test-console

build: console
	@scripts/setup build
	cargo build --release --locked --package gridloom

console:
	@scripts/setup console
	@scripts/build-console

bench:
	@scripts/setup build
	cargo bench --workspace --locked

fuzz:
	scripts/fuzz

# Twenty rounds of lost nodes as processes; prints how long service took to come back.
rounds: console
	@scripts/setup build
	cargo test --release --locked --package gridloom --test rounds -- --ignored --nocapture

# The everyday commands; `just` lists them. https://just.systems

# List the commands
default:
    @just --list --unsorted

# Build the program
build:
    cargo build --locked

# Run the program: just run models list
run *ARGS:
    cargo run --locked --quiet -- {{ARGS}}

# Run all Rust tests, or those whose name contains FILTER
test *FILTER:
    cargo test --locked {{FILTER}}

# Run the tests of one crate: just crate validation csv
crate NAME *FILTER:
    cargo test --locked --package mlops-{{NAME}} --lib {{FILTER}}

# Run the integration tests of the program: just it promote
it *FILTER:
    cargo test --locked --test it {{FILTER}}

# Format and lint, as CI does
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# Format the code
fmt:
    cargo fmt --all

# Update generated files: docs/cli.md, docs/exit-codes.md, docs/local-cloud.md, completions
generate:
    UPDATE=1 cargo test --locked --test it generated

# Check licenses, banned crates and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny --locked check licenses bans sources

# Run the fuzz targets for SECONDS each: just fuzz 60 csv
fuzz SECONDS="60" *TARGETS:
    fuzz/run {{SECONDS}} {{TARGETS}}

# Run everything that must pass before a change lands
ci:
    .ci/run

# Build the published binary: small, slow to compile
dist:
    cargo build --profile dist --locked

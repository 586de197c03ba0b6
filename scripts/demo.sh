#!/usr/bin/env bash
# Installs and builds what the demonstration needs, if it isn't there, then runs it: see demo/__main__.py.
# With ONCE=1 in the environment it ends after the conversation.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_compiler
need_packages inspircd
need_synapse
step "Building the bridge (the first time takes some minutes)"
cargo build --release --locked
# -B: no compiled copies beside the sources.
exec "$PYTHON" -B scripts/demo "${CARGO_TARGET_DIR:-target}/release/footbridge"

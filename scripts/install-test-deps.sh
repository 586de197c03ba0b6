#!/usr/bin/env bash
# Installs what `make test` needs, if it isn't there: IRC servers, PostgreSQL, Synapse and cargo-deny. Nothing is started.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_rust
need_packages atheme-services inspircd ngircd postgresql-15
need_synapse
need_cargo_deny

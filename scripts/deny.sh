#!/usr/bin/env bash
# Checks the dependencies against deny.toml. Advisories aren't among it: their database has to be downloaded, and a
# change in it must not break a build of yesterday; run `build/tools/bin/cargo-deny check advisories` now and then.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_cargo_deny
build/tools/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources

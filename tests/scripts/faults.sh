#!/bin/sh
# The long version of the fault tests: every crash point with every kind of connector, 200 random kills
# of the server, and a full disk. Prints the figures; ends with 1 where a run is lost, or an effect is
# made twice or is missing.
#
#   tests/scripts/faults.sh [KILLS]
set -eu
cd "$(dirname "$0")/../.."
TESSERA_KILLS="${1:-200}"
TESSERA_CRASH_MATRIX=1
export TESSERA_KILLS TESSERA_CRASH_MATRIX
exec cargo test --locked --workspace --test it -- --nocapture --test-threads 1 faults::

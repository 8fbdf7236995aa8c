#!/bin/sh
# Serves with a program of an earlier revision, then with the present one beside it, on one database and
# under load; ends with 1 where a call fails or a run is lost.
#
#   tests/scripts/upgrade.sh REVISION
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'git worktree remove --force "$folder/old"; rm -rf "$folder"' EXIT
git worktree add --quiet --detach "$folder/old" "$1"
(cd "$folder/old" && CARGO_TARGET_DIR="$folder/target" cargo build --locked)
TESSERA_OLD_PROGRAM="$folder/target/debug/tessera"
export TESSERA_OLD_PROGRAM
cargo test --locked --workspace --test it -- --nocapture upgrade::

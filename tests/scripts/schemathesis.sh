#!/bin/sh
# Calls a running server by its own description, with every check of schemathesis:
#   tests/scripts/schemathesis.sh URL KEY [ARGUMENTS...]
# Use a server that may lose its data: everything that the key permits is tried.
set -eu
url=$1 key=$2
shift 2
exec "$(dirname "$0")/venv.sh" schemathesis==4.32.5 -- schemathesis run "$url/v1/openapi.json" \
    -c all -n "${TESSERA_TEST_EXAMPLES:-20}" --seed 1 --phases examples,coverage,fuzzing,stateful \
    --request-timeout 30 -H "Authorization: Bearer $key" "$@"

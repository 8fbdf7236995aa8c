#!/bin/sh
# Runs the conformance suite of the Model Context Protocol against a running server:
#   tests/scripts/mcp_conformance.sh URL KEY [ARGUMENTS...]
# The suite sends no key of its own, so a small proxy adds it. Most of its scenarios want the suite's own
# example tools; those that need none are named here.
set -eu
url=$1 key=$2
shift 2
folder="${TMPDIR:-/tmp}/tessera-mcp-conformance"
mkdir -p "$folder"
cd "$folder"
[ -d node_modules/node ] || npm install --silent --no-audit --no-fund node@22 @modelcontextprotocol/conformance@0.1.16
node="$folder/node_modules/node/bin/node"
cat > proxy.mjs <<'JS'
import http from "node:http";
const [upstream, key] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  const headers = { ...request.headers, authorization: `Bearer ${key}` };
  const forwarded = http.request(upstream, { method: request.method, path: request.url, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  forwarded.on("error", () => response.writeHead(502).end());
  request.pipe(forwarded);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
JS
"$node" proxy.mjs "$url" "$key" > port &
proxy=$!
trap 'kill $proxy' EXIT
while [ ! -s port ]; do sleep 0.1; done
failed=0
for scenario in ${TESSERA_TEST_SCENARIOS:-server-initialize ping tools-list dns-rebinding-protection}; do
    "$node" node_modules/@modelcontextprotocol/conformance/dist/index.js server \
        --url "http://127.0.0.1:$(cat port)/mcp" --scenario "$scenario" "$@" || failed=1
done
exit $failed

#!/bin/sh
# Reads the figures of a running server with Prometheus' own tool, which must be installed:
#   tests/scripts/promtool.sh URL
set -eu
curl -fsS "$1/metrics" | promtool check metrics

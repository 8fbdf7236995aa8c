#!/bin/sh
# Runs a program in a Python environment of its own with these packages:
#   tests/scripts/venv.sh PACKAGE==VERSION... -- PROGRAM ARGUMENTS...
# PROGRAM is a Python file, or the name of a program that the packages bring.
# The environment stays under ${TMPDIR:-/tmp}/tessera-venv and is used again for the same packages.
set -eu
packages=""
while [ "$1" != "--" ]; do
    packages="$packages $1"
    shift
done
shift
name=$(printf '%s' "$packages" | tr -c 'A-Za-z0-9.' '_')
venv="${TMPDIR:-/tmp}/tessera-venv/$name"
if [ ! -e "$venv/made" ]; then
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check $packages
    touch "$venv/made"
fi
case "$1" in
*.py) exec "$venv/bin/python" "$@" ;;
*)
    program="$venv/bin/$1"
    shift
    exec "$program" "$@"
    ;;
esac

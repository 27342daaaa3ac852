#!/bin/sh
# Builds palette.c for the `python` in PATH, in a folder of its own, and runs run.py on the heap with
# every call site remembered. Needs `holdfast`, `python` and a C compiler.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
include=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')
if [ ! -e "$include/Python.h" ]; then
    echo "skipped: $include has no Python.h; install the headers of this Python (python3-dev)"
    exit 0
fi
"${CC:-cc}" -O1 -fPIC -shared -I"$include" "$here/palette.c" -o "$folder/palette.so"
PYTHONPATH="$folder" holdfast run --sites=all "$here/run.py"

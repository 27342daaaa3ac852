#!/bin/sh
# The demonstration of `make demo`: first a real program that knows nothing of holdfast, then a
# native extension that writes past the end of a block, caught with the line that allocated it.
# Needs `holdfast` and `python` in PATH.
set -eu
cd "$(dirname "$0")"

title() {
    printf '\n== %s\n' "$1"
}

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

title "Python's standard library, parsed and indexed by four threads, on the holdfast heap"
show holdfast run stdlib_index/index_stdlib.py

if [ -x find_the_overflow/run.sh ]; then
    title "A native extension with a planted overflow"
    show find_the_overflow/run.sh
fi

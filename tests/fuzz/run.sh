#!/bin/sh
# run.sh - builds the fuzz targets with clang and runs each for SECONDS (default 60).
#   tests/fuzz/run.sh [SECONDS [BUILD_FOLDER]]
# Findings stay in BUILD_FOLDER as crash-*; replay_fuzz_X FILE runs one with any compiler.
set -eu
seconds=${1:-60}
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${2:-$root/build/fuzz}
command -v clang-14 >/dev/null || { echo "fuzz: skipped, clang-14 is not installed"; exit 0; }
cmake -S "$root" -B "$build" -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1 -g" -DHOLDFAST_PYTHON=OFF \
    -DHOLDFAST_SANITIZE="address" >/dev/null
cmake --build "$build" -j"$(nproc)" --target fuzzers
cd "$build"
for target in fuzz_program fuzz_mutation fuzz_arena; do
    mkdir -p "corpus/$target"
    "./$target" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 "corpus/$target"
done

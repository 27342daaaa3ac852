#!/bin/sh
# install_packages.sh - Debian packages the tests and benchmarks use. Needs apt-get and root; without
# them it says what is missing and succeeds: whatever needs a missing tool skips with a reason.
set -u

packages="ninja-build cmake gcc g++ clang-14 clang-format-14 libclang-rt-14-dev valgrind
    libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 redis-server redis-tools sqlite3 git gdb
    libboost-context-dev"

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "packages: no apt-get here; please install the equivalents of:$missing"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "packages: not root; please run: apt-get install$missing"
    exit 0
fi
echo "packages: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# A service that a package brings along must not start on this machine.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=yes
fi
apt-get update -qq || echo "packages: apt-get update failed, trying with the lists that are here"
for package in $missing; do
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
        echo "packages: $package could not be installed; what needs it will be skipped"
done
[ -z "$made_policy" ] || rm -f "$policy"
exit 0

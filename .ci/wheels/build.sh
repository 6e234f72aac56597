#!/usr/bin/env bash
# Builds wheels for every Linux with glibc 2.28 or newer, with Debian's compilers and without a container. The compiler
# is the one that the tests use; what it links against is made old (link_stubs.py, old_glibc.c).
#   .ci/wheels/build.sh FOLDER [ARCHITECTURE...]     x86_64 and aarch64; default: this machine's
# IRT_PIP_WHEEL: further options of `pip wheel`.
set -euo pipefail
out=$(realpath -m "$1")
shift
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
mkdir -p "$out"

for arch in "${@:-$(uname -m)}"; do
  cxx=$arch-linux-gnu-g++
  if ! command -v "$cxx" >/dev/null; then
    package=g++
    [ "$arch" = "$(uname -m)" ] || package=g++-${arch/x86_64/x86-64}-linux-gnu
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null
  fi
  stubs=$PWD/build/wheels/$arch
  "$python" .ci/wheels/link_stubs.py "$cxx" "$stubs"
  "${cxx/g++/gcc}" -O2 -fPIC -Wall -Wextra -c .ci/wheels/old_glibc.c -o "$stubs/old_glibc.o"
  rm -f "$out"/interleave_rt-*_"$arch".whl
  # shellcheck disable=SC2086
  "$python" -m pip wheel -q --no-deps ${IRT_PIP_WHEEL:-} -w "$out" \
    -Cbuild-dir="$stubs/cmake" \
    -Cwheel.tags="cp310-abi3-manylinux_2_28_$arch" \
    -Ccmake.define.CMAKE_CXX_COMPILER="$cxx" \
    -Ccmake.define.CMAKE_MODULE_LINKER_FLAGS="-L$stubs $stubs/old_glibc.o -Wl,--as-needed,--wrap=pthread_cond_clockwait" .
  "$python" .ci/wheels/check.py "$out"/interleave_rt-*_"$arch".whl
done

#!/usr/bin/env bash
# From a folder of wheels to the first picture on a system without a compiler and without network: a bare Debian, its
# root read-only, by a user who is not root. Says how long it took.
#   sudo .ci/wheels/bare.sh WHEELHOUSE [SUITE]     the system is kept in build/bare-SUITE
set -euo pipefail
wheelhouse=$(realpath "$1")
suite=${2:-bookworm}
here=$(dirname "$(realpath "$0")")
root=$(realpath -m "$here/../../build/bare-$suite")
"$here/unpack.sh" "$root" amd64 "$suite"
mkdir -p "$root/wheelhouse"

# Mounts, and the absence of a network, end with the process.
unshare --mount --net bash -euo pipefail -s "$root" "$wheelhouse" <<'SYSTEM'
mount --bind "$1" "$1"
mount --bind "$2" "$1/wheelhouse"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
mount -o remount,bind,ro "$1"
exec chroot --userspec=65534:65534 "$1" env -i HOME=/tmp PATH=/usr/bin:/bin LANG=C.UTF-8 bash -euo pipefail -s <<'USER'
if command -v cc gcc g++ c++ clang cmake; then echo "a compiler is here: this proves nothing"; exit 1; fi
! touch /usr/written 2>/dev/null || { echo "the root is not read-only"; exit 1; }
cd /tmp
began=$(date +%s%N)
python3 -m venv venv
venv/bin/pip install -q --no-index --find-links /wheelhouse "interleave-rt[cpu]"
installed=$(date +%s%N)
venv/bin/interleave-rt run "Draw a snowman step by step" --out story
ended=$(date +%s%N)
ls story
python3 - "$began" "$installed" "$ended" <<'TIMES'
import platform, sys

began, installed, ended = (int(text) / 1e9 for text in sys.argv[1:])
print(f"Python {platform.python_version()}: installed in {installed - began:.1f} s, story in {ended - installed:.1f} s, "
      f"wheelhouse to the last picture {ended - began:.1f} s")
TIMES
USER
SYSTEM

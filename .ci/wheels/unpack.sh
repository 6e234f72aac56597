#!/usr/bin/env bash
# A bare Debian with Python, unpacked and not installed: nothing of it is run, so that it may be of any architecture.
#   .ci/wheels/unpack.sh FOLDER ARCHITECTURE [SUITE]     ARCHITECTURE: amd64 or arm64
set -euo pipefail
root=$1 arch=$2 suite=${3:-bookworm}
[ ! -e "$root/usr/bin/python3" ] || exit 0
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
debootstrap --arch="$arch" --foreign --variant=minbase --include=python3,python3-venv,libstdc++6 "$suite" "$root" >/dev/null
for package in "$root"/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$root"; done

#!/usr/bin/env bash
# Runs an aarch64 wheel on another processor, by user-mode emulation: Debian's arm64 Python, unpacked and not installed,
# and the libraries' own aarch64 wheels. Slow: minutes.
#   sudo .ci/wheels/emulate.sh WHEEL [PYTHON-ARGUMENT...]     without arguments: the README's first command
set -euo pipefail
wheel=$(realpath "$1")
shift
here=$(dirname "$(realpath "$0")")
root=$(realpath -m "$here/../../build/bare-arm64")
"$here/unpack.sh" "$root" arm64
# ONNX Runtime looks here for what the processor is, and crashes where it reads of another architecture's.
mkdir -p "$root/proc"
for core in $(seq 0 $(($(nproc) - 1))); do
  printf 'processor: %d\nFeatures: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\nCPU implementer: 0x41\n' "$core"
  printf 'CPU architecture: 8\nCPU variant: 0x0\nCPU part: 0xd08\nCPU revision: 3\n\n'
done >"$root/proc/cpuinfo"
command -v qemu-aarch64-static >/dev/null || apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null
rm -rf "$root/opt/site"
"${PYTHON:-python3}" -m pip install -q --disable-pip-version-check --target "$root/opt/site" --only-binary :all: \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
  --platform manylinux2014_aarch64 --python-version 3.11 --implementation cp --abi cp311 --abi abi3 "$wheel[cpu]"
cd "$(mktemp -d)"
[ $# -gt 0 ] || set -- -m interleave_rt run "Draw a snowman step by step" --out story
time env -i HOME="$PWD" LANG=C.UTF-8 PYTHONPATH="$root/opt/site" PYTHONHOME="$root/usr" \
  qemu-aarch64-static -cpu cortex-a72 -L "$root" "$root/usr/bin/python3.11" "$@"

#!/bin/sh
# Fetches the official ONNX Runtime C header from Debian and prints the folder that contains
# onnxruntime_c_api.h, for CMake's IRT_ORT_HEADER_DIR. Nothing is installed: apt works in a private
# directory, with this machine's own mirror and a newer suite (bookworm has no such package).
#   usage: .ci/fetch_ort_header.sh [TARGET_DIR]      (IRT_ORT_SUITE: the suite, default trixie)
set -eu

suite=${IRT_ORT_SUITE:-trixie}
target=${1:-build/ort-header}
mkdir -p "$target"
target=$(cd "$target" && pwd)

print_folder() {
  header=$(find "$target/root" -name onnxruntime_c_api.h 2>/dev/null | head -n 1)
  [ -n "$header" ] && dirname "$header"
}
print_folder && exit 0

# The mirror of the first Debian source that apt knows: deb822 files, then one-line files.
mirror=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
  sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*debian\)\/*\([[:space:]].*\)*$/\1/p' | head -n 1)
if [ -z "$mirror" ]; then
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^deb[[:space:]]\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*debian\)\/*[[:space:]].*/\2/p' |
    head -n 1)
fi
if [ -z "$mirror" ]; then
  echo "fetch_ort_header.sh: no Debian source in /etc/apt: set IRT_ORT_HEADER_DIR by hand" >&2
  exit 1
fi

apt_dir=$target/apt
mkdir -p "$apt_dir/lists/partial" "$apt_dir/archives/partial" "$apt_dir/empty"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt_dir/sources.list"
: >"$apt_dir/status"
apt_private() {
  apt-get -q -o Dir::Etc::SourceList="$apt_dir/sources.list" \
    -o Dir::Etc::SourceParts="$apt_dir/empty" -o Dir::State::Lists="$apt_dir/lists" \
    -o Dir::State::Status="$apt_dir/status" -o Dir::Cache="$apt_dir" \
    -o APT::Sandbox::User=root "$@" >&2
}
apt_private update
(cd "$apt_dir" && apt_private download libonnxruntime-dev)
dpkg -x "$apt_dir"/libonnxruntime-dev_*.deb "$target/root"
print_folder || {
  echo "fetch_ort_header.sh: the package holds no onnxruntime_c_api.h" >&2
  exit 1
}

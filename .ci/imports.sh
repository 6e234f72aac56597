#!/usr/bin/env bash
# Checks the import contracts of pyproject.toml on the package as it is installed: export and train are parts of it, and
# `lint-imports` alone does not see them where they lie.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/interleave_rt"
ln -s "$root"/interleave_rt/* "$root/export" "$root/train" "$stage/interleave_rt/"
cd "$stage"
PYTHONPATH=$stage lint-imports --no-cache "$root/pyproject.toml"

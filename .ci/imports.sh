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
python - "$root/pyproject.toml" <<'PY'
import sys

# An editable install finds the package first, together with the folders beside it.
sys.meta_path = [one for one in sys.meta_path if type(one).__name__ != "ScikitBuildRedirectingFinder"]
sys.path.insert(0, "")
from importlinter.cli import lint_imports

sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True))
PY

#!/usr/bin/env bash
# Generates interleave_rt/_core.pyi from the installed module.
#   .ci/stub.sh           writes it
#   .ci/stub.sh --check   fails, and shows the difference, where it is not what the module says
# PYTHON names the interpreter that has the module; IRT_CORE_DIR a folder with a _core built by hand.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
stub=interleave_rt/_core.pyi
made=$(mktemp)
trap 'rm -f "$made"' EXIT

"$python" - "$made" <<'PY'
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

folder = os.environ.get("IRT_CORE_DIR")
if folder:
    paths = [p for p in sorted(Path(folder).glob("_core*")) if p.name.endswith((".so", ".pyd", ".dylib"))]
    if not paths:
        sys.exit(f"stub.sh: {folder} holds no _core module")
    name = "interleave_rt._core"
    loader = importlib.machinery.ExtensionFileLoader(name, str(paths[0]))
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
else:
    module = importlib.import_module("interleave_rt._core")
generator = StubGen(module)
generator.put(module)
Path(sys.argv[1]).write_text(generator.get(), encoding="utf-8")
PY

if [ "${1:-}" = --check ]; then
  diff -u "$stub" "$made" || {
    echo "stub.sh: $stub is not what the module says: run .ci/stub.sh and commit it" >&2
    exit 1
  }
else
  cp "$made" "$stub"
fi

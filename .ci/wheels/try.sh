#!/usr/bin/env bash
# Installs a wheel as a user would and makes the README's first picture, on every Python 3.10+ that is here: each in a
# fresh environment, with no compiler within reach and nothing built by pip.
#   .ci/wheels/try.sh WHEEL [PYTHON...]     IRT_PIP_INSTALL: further options, as --no-index --find-links FOLDER
set -euo pipefail
wheel=$(realpath "$1")
shift
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
if [ $# = 0 ]; then
  shopt -s nullglob
  set -- "${PYTHON:-python3}" "$HOME"/.pyenv/versions/3.1[0-9]*/bin/python /usr/bin/python3.1[0-9] /usr/local/bin/python3.1[0-9]
fi
cd "$away"

for python in "$@"; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  [ ! -e "$version" ] || continue
  "$python" -m venv "$version" 2>/dev/null || { echo "$python: has no venv, left out"; rm -rf "$version"; continue; }
  (
    began=$SECONDS extra='[cpu]'
    # The embedded models take an ONNX Runtime that is no longer made for Python 3.10.
    [ "$version" != 3.10 ] || extra=
    # shellcheck disable=SC2086
    PATH=$PWD/$version/bin "$version/bin/pip" install -q --disable-pip-version-check --only-binary :all: \
      ${IRT_PIP_INSTALL:-} "$wheel$extra"
    installed=$SECONDS
    PATH=$PWD/$version/bin
    if [ -z "$extra" ]; then
      interleave-rt simulate --preset h200-bf16 --accept-prob 0.8 >"$version/log"
      echo "Python $version: installed in $((installed - began)) s, without models: simulated"
      exit
    fi
    interleave-rt run "Draw a snowman step by step" --out "$version/story" >"$version/log"
    python -m interleave_rt.train shapes-check "$version/story"
    echo "Python $version: installed in $((installed - began)) s, story in $((SECONDS - installed)) s"
  )
done

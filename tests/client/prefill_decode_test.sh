#!/bin/bash
# client/examples/prefill_decode at a small size: its types, one prompt each way, and all its fault
# cases, each of which compares logits bit for bit with computing the prompt alone.
#   prefill_decode_test.sh BUILD_FOLDER SOURCE_DIRECTORY
set -euo pipefail

build=$1
source=$2
example=$source/client/examples/prefill_decode

if [ ! -e "$source/build/python/installed" ]; then
  echo "SKIPPED: $source/build/python has no onnxruntime; tools/setup says why (no package index?)"
  exit 77
fi

if command -v mypy >/dev/null; then
  types=$(mktemp -d)
  trap 'rm -rf "$types"' EXIT
  cp "$example"/*.py "$types"
  cp "$example/run" "$types/run.py"
  # numpy and onnx as they are installed need a newer mypy than Debian's: to it they are Any.
  (cd "$types" && MYPYPATH=$source/client/python mypy --strict --no-site-packages \
    --ignore-missing-imports --cache-dir "$build/mypy" ./*.py)
else
  echo "mypy is not installed: the types were not checked"
fi

timeout 100 "$example/run" --build "$build" --tokens 200 --layerwise
timeout 400 "$example/run" --build "$build" --tokens 620 --faults

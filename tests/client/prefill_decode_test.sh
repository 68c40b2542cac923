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

cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
if command -v mypy >/dev/null; then
  # numpy and onnx as they are installed need a newer mypy than Debian's: to it they are Any.
  (cd "$example" && cp run "$cache/run.py" &&
    MYPYPATH="$source/client/python:$example" mypy --strict --no-site-packages \
      --ignore-missing-imports --cache-dir "$cache/mypy" ./*.py "$cache/run.py")
else
  echo "mypy is not installed: the types were not checked"
fi

timeout 100 "$example/run" --build "$build" --tokens 200
timeout 400 "$example/run" --build "$build" --tokens 1024 --faults

#!/bin/bash
# libterrace.so shows what terrace.hpp promises, and nothing else: an engine must be able to carry
# its own UCX, flatbuffers and base/ beside it.
#   exports_test.sh LIBRARY
set -euo pipefail

exported=$(nm -DC --defined-only "$1" | cut -d' ' -f3- | sort)
strangers=$(grep -vE '^(terrace::(Client|Chain|LentBlock|Status)(::|$)|terrace::StatusCodeName)' \
  <<<"$exported" || true)
if [[ -n $strangers ]]; then
  echo "exported, but not in terrace.hpp:"
  echo "$strangers"
  exit 1
fi
for needed in terrace::Client::Connect terrace::Client::Get terrace::Client::Lend \
  terrace::LentBlock::Release terrace::Chain::Append \
  terrace::Status::ToString terrace::StatusCodeName; do
  grep -qF "$needed" <<<"$exported" || { echo "not exported: $needed"; exit 1; }
done
echo "$(wc -l <<<"$exported") symbols, all of terrace.hpp"

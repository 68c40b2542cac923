#!/bin/bash
# libterrace.so shows what terrace.h, terrace.hpp and their sisters promise, and nothing else: an
# engine must be able to carry its own UCX, flatbuffers and base/ beside it.
#   exports_test.sh LIBRARY C_HEADER...
set -euo pipefail

exported=$(nm -DC --defined-only "$1" | cut -d' ' -f3- | sort)
# Every function that the C headers declare is there, and no other C name is.
declared=$(cat "${@:2}" | grep -oE '\bterrace_[a-z_]+\(' | tr -d '(' | sort -u)
c_names=$(grep -xE 'terrace_[a-z_]+' <<<"$exported" || true)
if [[ $declared != "$c_names" ]]; then
  echo "the C headers (<) and the exported C functions (>) differ:"
  diff <(echo "$declared") <(echo "$c_names") | grep '^[<>]'
  exit 1
fi
strangers=$(grep -vxE 'terrace_[a-z_]+' <<<"$exported" |
  grep -vE '^(terrace::(Client|Chain|EventCursor|LentBlock|PagedCache|Status)(::|$))' |
  grep -vE '^terrace::(StatusCodeName|IdentityOf|CrossLayer|DescribeBlocks|ElementBytes)' |
  grep -vE '^terrace::(FrameBytes|FusedParts|HoldsWholeBlock|Latent|LayerBases|LayerStride)\(' |
  grep -vE '^terrace::(PagesFirst|PartsFirst|SeparateParts|StoredBlockBytes|StoredRuns)\(' |
  grep -vE '^terrace::Validate(Bases|Cache|Layers|Pages|Stored)\(' || true)
if [[ -n $strangers ]]; then
  echo "exported, but not in a public header:"
  echo "$strangers"
  exit 1
fi
for needed in terrace::Client::Connect terrace::Client::Get terrace::Client::Lend \
  terrace::LentBlock::Release terrace::Chain::Append \
  terrace::EventCursor::Parse terrace::IdentityOf \
  terrace::PagedCache::Open terrace::StoredRuns \
  terrace::Status::ToString terrace::StatusCodeName; do
  grep -qF "$needed" <<<"$exported" || { echo "not exported: $needed"; exit 1; }
done
echo "$(wc -l <<<"$exported") symbols, all of terrace.h and terrace.hpp"

#!/bin/bash
# A Python developer on a fresh Debian 12 installs the package, as docs/client.md says and without a
# network; then its types are checked, hello.py and paged.py run, and the tests of python_test.py
# and its sisters, all against a real daemon.
#   python_test.sh LIBTERRACE TERRACED SOURCE_DIRECTORY
set -euo pipefail

library=$1
terraced=$2
source=$3
# Debian's: the packages of tools/packages.txt (numpy, mypy) are for this one.
python=/usr/bin/python3
# shellcheck source=tests/common/daemon_helpers.sh
source "$source/tests/common/daemon_helpers.sh"
prepare "$(dirname "$terraced")"

# pip builds in the source folder; a copy keeps the test from writing there.
cp -r "$source/client/python" "$work/package"
"$python" -m venv --system-site-packages "$work/venv"
# The library of this build is packed into the wheel; no index is asked.
TERRACE_LIBRARY=$library PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
  "$work/venv/bin/pip" install "$work/package" >"$work/pip.log" 2>&1 ||
  { cat "$work/pip.log"; exit 1; }
unset TERRACE_LIBRARY LD_LIBRARY_PATH # from here on the package finds what came with it

if command -v mypy >/dev/null; then
  (cd "$work/package" && mypy --strict --cache-dir "$work/mypy" terrace)
else
  echo "mypy is not installed: the types were not checked"
fi

write_config 1 64MiB
start_daemon
cd "$work" # not where a folder terrace/ lies
timeout 60 "$work/venv/bin/python" "$source/client/examples/hello.py" "$address" ||
  die "hello.py failed"
timeout 60 "$work/venv/bin/python" "$source/client/examples/paged.py" "$address" ||
  die "paged.py failed"
for test in python_test python_pieces_test python_hints_test python_handoff_test \
    python_events_test python_plan_test python_paged_test; do
  PYTHONDONTWRITEBYTECODE=1 timeout 180 "$work/venv/bin/python" \
    "$source/tests/client/$test.py" "$terraced"
done

#!/bin/bash
# A Python developer on a fresh Debian 12 installs the package, as docs/client.md says and without a
# network; then its types are checked, hello.py runs, and python_test.py, all against a real daemon.
#   python_test.sh LIBTERRACE TERRACED SOURCE_DIRECTORY
set -euo pipefail

library=$1
terraced=$2
source=$3
# Debian's: the packages of tools/packages.txt (numpy, mypy) are for this one.
python=/usr/bin/python3
work=$(mktemp -d)
daemon=
# Only the process that this script started.
trap '[[ -n $daemon ]] && kill "$daemon" 2>/dev/null; rm -rf "$work"' EXIT

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

cat >"$work/terraced.toml" <<CONFIG
[server]
listen = "127.0.0.1:0"
port_file = "$work/ports"
[dram]
capacity = "64MiB"
[metrics]
enabled = false
CONFIG
"$terraced" --config "$work/terraced.toml" 2>"$work/terraced.log" &
daemon=$!
for ((i = 0; i < 300; ++i)); do
  [[ -s $work/ports ]] && break
  kill -0 "$daemon" 2>/dev/null || break
  sleep 0.1
done
port=$(head -n 1 "$work/ports" 2>/dev/null) || { cat "$work/terraced.log"; exit 1; }
cd "$work" # not where a folder terrace/ lies
timeout 60 "$work/venv/bin/python" "$source/client/examples/hello.py" "127.0.0.1:$port" ||
  { cat "$work/terraced.log"; exit 1; }
timeout 240 "$work/venv/bin/python" "$source/tests/client/python_test.py" "$terraced"

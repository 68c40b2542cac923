# Sourced by the integration tests of terrace-replay: a daemon, and checks of reports.
# shellcheck shell=bash
# shellcheck source=tests/common/daemon_helpers.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common/daemon_helpers.sh"

replay() { "$bin/terrace-replay" run --connect "$address" --quiet "$@"; }

# Waits until a percent of the replay of $replay_pid is done, as it says in $work/progress.
await_progress() {
  until grep -q '^[1-9]' "$work/progress" 2>/dev/null; do
    kill -0 "$replay_pid" 2>/dev/null || die "the replay ended too early"
    sleep 0.05
  done
}

# check_report FILE PYTHON: the code sees the report as r and calls expect(condition, what).
check_report() {
  python3 - "$1" <<EOF || die "the report is wrong"
import json, sys
r = json.load(open(sys.argv[1]))
bad = []
def expect(condition, what):
    if not condition:
        bad.append(what)
$2
if bad:
    print("not so:", "; ".join(bad), file=sys.stderr)
    print(json.dumps(r, indent=1), file=sys.stderr)
    sys.exit(1)
EOF
}

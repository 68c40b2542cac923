# Sourced by the integration tests of terrace-replay: a daemon, and checks of reports.
# shellcheck shell=bash
# shellcheck source=tests/common/daemon_helpers.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common/daemon_helpers.sh"

replay() { "$bin/terrace-replay" run --connect "$address" --quiet "$@"; }

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

#!/usr/bin/env bash
# The daemon is killed with -9 in the middle of a replay and started again on the same port: the
# workers must go on with misses, reconnect, and see not one wrong byte.
#   replay_restart_test.sh DIRECTORY_OF_PROGRAMS
set -euo pipefail
# shellcheck source=tests/tools/replay_test_helpers.sh
source "$(dirname "${BASH_SOURCE[0]}")/../replay_test_helpers.sh"
prepare "$1"

write_config 1 64MiB
start_daemon
# The same port again, as a service manager would do.
sed -i "s/^listen = \"127.0.0.1:0\"  # clients/listen = \"$address\"/" "$work/terraced.toml"

"$bin/terrace-replay" run --requests 8000 --seed 9 --connect "$address" --quiet \
  --prefill 2 --decode 2 --progress-file "$work/progress" --out "$work/restart" &
replay_pid=$!
await_progress
kill -0 "$replay_pid" 2>/dev/null || die "the replay ended before the daemon was killed"
kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null || true
daemon_pid=
rm -f "$work/ports"
sleep 1
start_daemon
status=0
wait "$replay_pid" || status=$?
[ "$status" -eq 0 ] || die "the replay ended with status $status"
check_report "$work/restart/report.json" '
expect(r["requests"] == 8000, "the run finished")
expect(r["wrong_bytes"] == 0 and r["wrong_blocks"] == 0, "no wrong byte")
expect(r["failure"] == "" and r["worker_errors"] == 0, "no failure")
expect(r["peer_dead"] > 0, "the outage was seen: %d" % r["peer_dead"])
expect(r["daemon_restarts"] == 1, "the restart was seen: %d" % r["daemon_restarts"])
expect(r["reconnects"] >= 4, "every worker reconnected: %d" % r["reconnects"])
expect(r["bytes_verified"] == r["bytes_got"] > 0, "every byte that came was verified")
expect(r["blocks_hit"] > 0, "hits")
'
stop_daemon
echo "PASSED"

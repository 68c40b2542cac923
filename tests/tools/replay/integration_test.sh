#!/usr/bin/env bash
# A generated workload end to end: terraced, prefill and decode processes, the real client library.
# Every byte must be right, the hit ratio must be the simulation's, and all processes must be gone
# afterwards.
#   replay_integration_test.sh DIRECTORY_OF_PROGRAMS
set -euo pipefail
# shellcheck source=tests/tools/replay_test_helpers.sh
source "$(dirname "${BASH_SOURCE[0]}")/../replay_test_helpers.sh"
prepare "$1"

write_config 1 64MiB
start_daemon
echo "== lockstep: the hit ratio is the simulation's =="
replay --requests 250 --seed 3 --lockstep --out "$work/lockstep"
check_report "$work/lockstep/report.json" '
expect(r["requests"] == 250, "all requests")
expect(r["wrong_bytes"] == 0 and r["wrong_blocks"] == 0, "no wrong byte")
expect(r["failure"] == "" and r["worker_errors"] == 0, "no failure")
expect(r["blocks_hit"] > 0 and r["evictions"] > 0, "hits and evictions")
expect(abs(r["hit_ratio_difference_points"]) < 0.5, "as simulated")
expect(r["bytes_verified"] == r["bytes_got"] > 0, "every byte that came was verified")
expect(r["hits_dram"] == r["blocks_hit"] and r["hits_nvme"] == 0, "hits by tier")
expect(r["calls_failed"] == 0 and r["peer_dead"] == 0, "no call failed")
expect(0 < r["gpu_seconds_saved"] < r["gpu_seconds_total"], "savings")
expect(r["dram_bytes"] == 64 << 20, "capacity as configured")
series = ("timeline", "latency_us")
expect(all(not isinstance(v, (dict, list)) for k, v in r.items() if k not in series), "flat keys")
'

echo "== the page for people stands beside it, whole, and can be made again =="
page() {
  python3 - "$1" <<'EOF' || die "$1 is not what a browser and a printer need"
import html.parser, re, sys, xml.etree.ElementTree
text = open(sys.argv[1], encoding="utf-8").read()
tree = xml.etree.ElementTree.fromstring(text.split("\n", 1)[1])
assert tree.find("head/meta[@name='viewport']") is not None, "no viewport"
assert "@media print" in text and "prefers-color-scheme" in text, "no style for print, dark"
svg = "{http://www.w3.org/2000/svg}svg"
assert len([s for s in tree.iter(svg) if s.get("class", "").startswith("chart")]) >= 6, "charts"
assert not re.search(r"\b(src|href)=|url\(|@import", text), "it loads something"
class Parser(html.parser.HTMLParser):
    seen = []
    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
parser = Parser()
parser.feed(text)
assert parser.seen.count("script") == 1 and "table" in parser.seen, "tags"
EOF
}
page "$work/lockstep/report.html"
"$bin/terrace-replay" report --json "$work/lockstep/report.json" --html "$work/again.html" \
  >"$work/said"
cmp "$work/lockstep/report.html" "$work/again.html" || die "another page from the same report"
"$bin/terrace-replay" compare "$work/lockstep/report.json" "$work/lockstep/report.json" \
  --html "$work/compared.html" >"$work/said"
grep -qF "0 better, 0 worse" "$work/said" || die "a run differs from itself: $(cat "$work/said")"

echo "== pipelined, two workers of each kind, another size of block =="
replay --requests 250 --seed 3 --prefill 2 --decode 2 --bytes-per-token 16 --out "$work/pipelined"
check_report "$work/pipelined/report.json" '
expect(r["requests"] == 250 and r["wrong_bytes"] == 0 and r["failure"] == "", "all well")
expect(r["block_bytes"] == 8192, "block size")
expect(abs(r["hit_ratio_difference_points"]) < 3, "near the simulation")
'

# What the series of a report say in sum.
sums='
def total(key):
    return sum(interval[key] for interval in r["timeline"])
def calls(name):
    return sum(count for _, count in r["latency_us"][name])
expect(total("requests") == r["requests"], "requests over time")
for key in ("blocks_looked_up", "hits_dram", "hits_nvme", "bytes_got", "bytes_put"):
    expect(total(key) == r[key], key + " over time")
expect(0 < len(r["timeline"]) <= 240, "intervals")
expect(calls("get") == r["get_calls"] and calls("put") == r["put_calls"], "distributions of calls")
expect(calls("request") == calls("prefill") == r["requests"], "distributions of requests")
expect(r["requests"] > 0 and r["wrong_bytes"] == 0 and r["failure"] == "", "all well")
'

echo "== open loop: at the times of the trace, in its order =="
replay --requests 120 --seed 6 --speed 500 --out "$work/open"
check_report "$work/open/report.json" "$sums"'
expect(r["requests"] == 120 and calls("queue") == 120, "every request, and its wait")
expect(r["mode"] == "open" and r["speed"] == 500, "mode")
expect(r["duration_s"] >= r["recorded_s"] / 500 > 0, "not before the last arrival")
expect(abs(r["hit_ratio_difference_points"]) < 0.5, "one prefill worker: as simulated")
'

echo "== closed loop: one at a time is lockstep =="
replay --requests 120 --seed 6 --closed-loop --concurrency 1 --think-time none \
  --prefill 2 --decode 2 --out "$work/one"
replay --requests 120 --seed 6 --lockstep --out "$work/other"
# With sessions, a loop of one goes through one after the other; the trace has them mixed.
check_report "$work/one/report.json" "$sums"'
other = json.load(open(sys.argv[1].replace("/one/", "/other/")))
expect(r["requests"] == 120 and calls("queue") == 120, "every request, and its wait")
expect(r["mode"] == "closed" and r["concurrency"] == 1 and r["think_time"] == "none", "mode")
expect(abs(r["hit_ratio_difference_points"]) < 0.5, "as simulated")
expect(r["blocks_looked_up"] == other["blocks_looked_up"] > 0, "the same work")
'

echo "== closed loop of many =="
replay --requests 250 --seed 3 --closed-loop --concurrency 6 --think-time 0.001 \
  --prefill 2 --decode 2 --out "$work/many"
check_report "$work/many/report.json" "$sums"'
expect(r["requests"] == 250 and calls("queue") == 250, "every request, and its wait")
expect(r["think_time"] == "0.001" and r["concurrency"] == 6, "as asked for")
expect(abs(r["hit_ratio_difference_points"]) < 3, "near the simulation")
'

echo "== over TCP =="
replay --requests 60 --seed 4 --tcp --out "$work/tcp"
check_report "$work/tcp/report.json" '
expect(r["requests"] == 60 and r["wrong_bytes"] == 0 and r["failure"] == "", "all well")
expect(r["link"] == "tcp", "link")
'

echo "== a trace file with a broken line =="
"$bin/terrace-replay" generate --requests 20 --seed 1 --out "$work/trace.jsonl" 2>/dev/null
sed -i '7s/.*/{"timestamp": 1, "input_length": -4/' "$work/trace.jsonl"
if replay --trace "$work/trace.jsonl" 2>"$work/error"; then die "a broken trace was accepted"; fi
grep -q "trace.jsonl:7: not valid JSON" "$work/error" || die "no line number: $(cat "$work/error")"
replay --trace "$work/trace.jsonl" --skip-bad-lines --out "$work/skipped"
check_report "$work/skipped/report.json" '
expect(r["requests"] == 19 and r["skipped_lines"] == 1, "one line skipped")
'

stop_daemon
write_config 2 64MiB
start_daemon
echo "== two reactors =="
replay --requests 150 --seed 5 --out "$work/reactors"
check_report "$work/reactors/report.json" '
expect(r["requests"] == 150 and r["wrong_bytes"] == 0 and r["failure"] == "", "all well")
expect(r["reactors"] == 2 and r["calls_failed"] == 0, "reactors")
'

echo "== interrupted: a report of what was done, and nobody left =="
"$bin/terrace-replay" run --requests 20000 --connect "$address" --quiet \
  --progress-file "$work/progress" --out "$work/interrupted" >"$work/table" &
replay_pid=$!
await_progress
workers=$(pgrep -P "$replay_pid") || die "no workers, and some of it done"
kill -INT "$replay_pid"
status=0
wait "$replay_pid" || status=$?
[ "$status" -eq 130 ] || die "status $status after SIGINT, expected 130"
check_report "$work/interrupted/report.json" '
expect(r["interrupted"] and 0 < r["requests"] < 20000 and r["wrong_bytes"] == 0, "a part")
'
for worker in $workers; do
  if kill -0 "$worker" 2>/dev/null; then die "worker $worker outlived its coordinator"; fi
done
stop_daemon

write_config 1 16MiB
cat >>"$work/terraced.toml" <<EOF
[nvme]
folder = "$work/nvme"
capacity = "256MiB"
EOF
start_daemon
echo "== DRAM and NVMe in lockstep: both tiers as simulated =="
replay --requests 600 --seed 5 --lockstep --out "$work/tiers"
check_report "$work/tiers/report.json" "$sums"'
expect(r["requests"] == 600, "all requests")
expect(r["hits_nvme"] > 0 and r["evictions"] > 0, "both tiers were needed")
expect(abs(r["hit_ratio_difference_points"]) < 0.5, "as simulated")
'
"$bin/terrace-replay" simulate --requests 600 --seed 5 --policy leaf-lru --dram 16MiB \
  --nvme 256MiB --quiet --json "$work/study.json" >/dev/null
cp "$work/tiers/report.json" "$work/ran.json"
check_report "$work/study.json" '
import os
ran = json.load(open(os.path.join(os.path.dirname(sys.argv[1]), "ran.json")))
simulated = r["tiers"][0]
expect(abs(simulated["block_hit_ratio"] - ran["block_hit_ratio"]) < 0.005, "as simulate says")
expect(simulated["hits_nvme"] > 0, "the tiers of simulate")
'
stop_daemon
echo "PASSED"

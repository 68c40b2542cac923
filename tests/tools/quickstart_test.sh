#!/usr/bin/env bash
# tools/quickstart: what it asks of the daemon for an NVMe tier, that it removes only what it made,
# and that a daemon killed in the middle is started again where the clients look for it.
#   quickstart_test.sh DIRECTORY_OF_PROGRAMS
set -euo pipefail
# shellcheck source=tests/tools/replay_test_helpers.sh
source "$(dirname "${BASH_SOURCE[0]}")/replay_test_helpers.sh"
prepare "$1"
quickstart=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/tools/quickstart

# Stand-ins, so that this needs no filesystem with O_DIRECT: a daemon that keeps its configuration
# and a file in its folder, and a replay that does nothing.
mkdir "$work/stand-ins"
cat >"$work/stand-ins/terraced" <<EOF
#!/usr/bin/env bash
cp "\$2" "$work/config"
folder=\$(sed -n 's/^folder = "\(.*\)"$/\1/p' "\$2")
[ -z "\$folder" ] || { [ -z "\$(ls -A "\$folder")" ] && : >"\$folder/device" || exit 3; }
echo 4242 >"\$(sed -n 's/^port_file = "\(.*\)"$/\1/p' "\$2")"
trap 'exit 0' TERM
while :; do sleep 0.1; done
EOF
cat >"$work/stand-ins/terrace-replay" <<EOF
#!/usr/bin/env bash
[ "\$1" != plan ] || exec "$bin/terrace-replay" "\$@"
exit \${REPLAY_STATUS:-0}
EOF
chmod +x "$work"/stand-ins/*

# run PROGRAMS OPTION...: at most a minute; what it says goes to $work/said.
run() {
  local programs=$1
  shift
  TERRACE_BIN=$programs timeout 60 bash "$quickstart" "$@" >"$work/table" 2>"$work/said"
}
said() { grep -qF -- "$1" "$work/said" || die "it did not say '$1': $(cat "$work/said")"; }
gone() { [ ! -e "$1" ] || die "$1 is still there"; }

echo "== the NVMe tier: folder and capacity, fresh, and removed at the end =="
stand_ins=$work/stand-ins
small=(--requests 50 --dram 32MiB)
run "$stand_ins" "${small[@]}" --nvme 200MiB --out "$work/a" || die "$(cat "$work/said")"
grep -qxF "folder = \"$work/a/nvme\"" "$work/config" || die "no folder: $(cat "$work/config")"
grep -qxF "capacity = $((200 << 20))" "$work/config" || die "no capacity: $(cat "$work/config")"
gone "$work/a/nvme"
gone "$work/a/nvme.made-by-quickstart"

echo "== a share of a small trace is still a tier that the daemon takes =="
run "$stand_ins" "${small[@]}" --nvme 1% --reactors 2 --out "$work/a" || die "$(cat "$work/said")"
grep -qxF "capacity = $((274 << 20))" "$work/config" || die "capacity: $(cat "$work/config")"

echo "== --keep-nvme keeps it until the next run, --nvme-folder puts it elsewhere =="
for _ in 1 2; do
  run "$stand_ins" "${small[@]}" --nvme-folder "$work/b" --keep-nvme --out "$work/a" ||
    die "$(cat "$work/said")"
  [ -e "$work/b/nvme/device" ] || die "it was not kept"
done
status=0
REPLAY_STATUS=1 run "$stand_ins" "${small[@]}" --nvme-folder "$work/b" --out "$work/a" || status=$?
[ "$status" -eq 1 ] || die "status $status, expected the replay's"
gone "$work/b/nvme"

echo "== no tier, no section =="
run "$stand_ins" "${small[@]}" --nvme 0 --out "$work/a" || die "$(cat "$work/said")"
if grep -q nvme "$work/config"; then die "an NVMe tier of no size: $(cat "$work/config")"; fi

echo "== somebody else's folder is left alone =="
mkdir -p "$work/c/nvme"
: >"$work/c/nvme/precious"
if run "$stand_ins" "${small[@]}" --nvme-folder "$work/c" --out "$work/a"; then die "it ran"; fi
said "quickstart did not make it"
[ -e "$work/c/nvme/precious" ] || die "it removed what it had not made"

echo "== no room, and options that make no sense =="
if run "$stand_ins" "${small[@]}" --nvme 8000TiB --out "$work/a"; then die "it ran"; fi
said "the NVMe tier needs 8388608000 MiB"
gone "$work/a/nvme"
for percent in 0 100 5% x; do
  if run "$stand_ins" --kill-at $percent; then die "--kill-at $percent was accepted"; fi
  said "must be a percentage from 1 to 99"
done
if run "$stand_ins" --connect 127.0.0.1:1 --kill-at 5; then die "somebody else's daemon"; fi
said "--kill-at is the business of the daemon at 127.0.0.1:1"

echo "== killed in the middle: two reactors, the same port, and not one wrong byte =="
run "$bin" --requests 2000 --nvme 0 --reactors 2 --kill-at 40 --out "$work/killed" ||
  die "$(cat "$work/said")"
said "killed the daemon with -9 when 4"
said "the daemon stopped cleanly"
check_report "$work/killed/report.json" '
expect(r["requests"] == 2000 and r["wrong_bytes"] == 0 and r["failure"] == "", "all well")
expect(r["daemon_restarts"] == 1 and r["blocks_recovered"] == 0, "one restart, nothing kept")
expect(r["reconnects"] >= 2 and r["blocks_hit"] > 0, "the workers went on")
'
echo "PASSED"

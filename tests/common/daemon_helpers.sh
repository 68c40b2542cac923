# Sourced by integration tests: a daemon on free ports, and a folder that goes with the test.
# shellcheck shell=bash
bin='' work='' daemon_pid='' address=''

die() {
  echo "FAILED: $*" >&2
  [ ! -s "$work/terraced.log" ] || tail -n 20 "$work/terraced.log" >&2
  exit 1
}

clean_up() {
  local status=$?
  trap - EXIT
  [ -z "$daemon_pid" ] || kill -KILL "$daemon_pid" 2>/dev/null || true
  rm -rf "$work"
  exit "$status"
}

# prepare DIRECTORY_OF_PROGRAMS
prepare() {
  bin=$1
  work=$(mktemp -d)
  trap clean_up EXIT
}

# write_config REACTORS DRAM
write_config() {
  cat >"$work/terraced.toml" <<EOF
[server]
listen = "127.0.0.1:0"  # clients
reactors = $1
port_file = "$work/ports"
[dram]
capacity = "$2"
[log]
file = "$work/terraced.log"
[metrics]
listen = "127.0.0.1:0"
EOF
}

start_daemon() {
  "$bin/terraced" --config "$work/terraced.toml" &
  daemon_pid=$!
  for _ in $(seq 300); do
    [ ! -s "$work/ports" ] || break
    kill -0 "$daemon_pid" 2>/dev/null || die "terraced did not start"
    sleep 0.1
  done
  [ -s "$work/ports" ] || die "terraced was not ready after 30 s"
  address=$(head -n 1 "$work/ports")
  address=127.0.0.1:${address##*:}
}

stop_daemon() {
  local status=0
  kill -TERM "$daemon_pid"
  wait "$daemon_pid" || status=$?
  daemon_pid=
  [ "$status" -eq 0 ] || die "terraced ended with status $status"
}

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the fuzzers of the monitor: of what it reads, and of what it carries out. They begin with next to nothing. A
# finding is printed as hexadecimal bytes.
#
#   monitor.sh BUILD_DIR SECONDS    for each of the two; exit status 1 if one finds something
set -euo pipefail

build=${1:?usage: monitor.sh BUILD_DIR SECONDS} seconds=${2:?SECONDS is missing}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run() {  # run NAME MAX_LENGTH
  if ! "$build/tests/jobcore_$1_fuzz" -max_total_time="$seconds" -max_len="$2" -timeout=40 -rss_limit_mb=2048 \
      -print_final_stats=1 -artifact_prefix="$work/" "$work/$1" >"$work/log" 2>&1; then
    tail -n 60 "$work/log"
    for finding in "$work"/{crash,leak,timeout,oom}-*; do
      [[ -e $finding ]] && od -An -v -tx1 "$finding"
    done
    exit 1
  fi
  grep -E '^stat::(number_of_executed_units|average_exec_per_sec)' "$work/log" || true
}

mkdir "$work"/{json,monitor}
printf '%s' '{"execute":"a","arguments":{"b":[1,-2.5e3,true,null,"\u00e9\"\\"],"c":{}},"id":18446744073709551615}' \
  >"$work/json/1"
printf '%s' "{'a':'b'} [tru] 5 }{\"" >"$work/json/2"
head -c 480 /dev/zero >"$work/monitor/1"
for i in {1..60}; do printf '%b' "\\x$(printf '%02x' $((i * 37 % 256)))\\x$(printf '%02x' $i)\\x01\\x02"; done >"$work/monitor/2"
run json 2048
run monitor 480

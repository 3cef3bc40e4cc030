#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the fuzzer of the NBD server. It begins with a sensible talk, and needs no more corpus than that: from there it
# reaches all that there is within seconds. A finding is printed as hexadecimal bytes.
#
#   nbd.sh BUILD_DIR SECONDS    exit status 1 if it finds something
set -euo pipefail

build=${1:?usage: nbd.sh BUILD_DIR SECONDS} seconds=${2:?SECONDS is missing}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{old,new}

option() {  # option NUMBER DATA_IN_HEX
  printf '49484156454f5054%08x%08x%s' "$1" $((${#2} / 2)) "$2"
}
request() { printf '256095130000%04x%016x%016x%08x' "$1" 1 4096 16; }
talk=00000003
talk+=$(option 8 '')$(option 3 '')
context=000000016400000001$(printf '%08x' 15)$(printf 'base:allocation' | od -An -v -tx1 | tr -d ' \n')
talk+=$(option 9 "$context")$(option 10 "$context")$(option 6 00000001640000)
for name in 0000000164 00000000; do  # read-only, writable
  whole=$talk$(option 7 "${name}0000")
  for command in 0 3 4 5 6 7 1; do whole+=$(request $command); done
  printf '%b' "$(sed 's/../\\x&/g' <<<"$whole")" >"$work/old/$name"
done

if ! "$build/tests/jobcore_nbd_fuzz" -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$work/" "$work/new" "$work/old" >"$work/log" 2>&1; then
  tail -n 60 "$work/log"
  for finding in "$work"/{crash,leak,timeout,oom}-*; do
    [[ -e $finding ]] && od -An -v -tx1 "$finding"
  done
  exit 1
fi
grep -E '^stat::(number_of_executed_units|average_exec_per_sec)|cov: .*DONE' "$work/log" || true

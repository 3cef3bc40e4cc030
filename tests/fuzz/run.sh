#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the fuzzer from the corpus on. A finding is printed as the list of decisions that repeats it.
#
#   run.sh BUILD_DIR SECONDS          exit status 1 if it finds something
#   run.sh BUILD_DIR SECONDS --keep   and makes a new corpus of what it has reached
set -euo pipefail

readonly KEPT=48
build=${1:?usage: run.sh BUILD_DIR SECONDS [--keep]} seconds=${2:?SECONDS is missing} keep=${3:-}
corpus=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/corpus
fuzzer=$build/tests/jobcore_fuzz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work"/{old,new,merged}

# A decision is two bytes, the low one first.
to_bytes() {  # to_bytes LIST
  local item n times format=''
  for item in ${1//,/ }; do
    times=1
    [[ $item != *x* ]] || times=${item#*x}
    n=${item%x*}
    while ((times-- > 0)); do printf -v format '%s\\x%02x\\x%02x' "$format" $((n & 255)) $((n >> 8 & 255)); done
  done
  printf '%b' "$format"
}
to_list() {  # to_list FILE
  od -An -v -tu2 -w2 --endian=little "$1" | awk '
    function put() { if (times) list = list (list == "" ? "" : ",") last (times > 1 ? "x" times : "") }
    { if ($1 == last && times) times++; else { put(); last = $1; times = 1 } }
    END { put(); print list == "" ? 0 : list }'
}

for file in "$corpus"/*.choices; do
  [[ -e $file ]] || continue
  to_bytes "$(<"$file")" >"$work/old/$(basename "$file" .choices)"
done

export ASAN_OPTIONS=detect_stack_use_after_return=1
if ! "$fuzzer" -max_total_time="$seconds" -max_len=1024 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$work/" "$work/new" "$work/old" >"$work/log" 2>&1; then
  tail -n 80 "$work/log"
  for finding in "$work"/{crash,leak,timeout,oom}-*; do
    [[ -e $finding ]] && printf 'to run it again: JOBCORE_CHOICES=%s\n' "$(to_list "$finding")"
  done
  exit 1
fi
grep -E '^stat::(number_of_executed_units|average_exec_per_sec|new_units_added)|cov: .*DONE' "$work/log" || true

if [[ $keep == --keep ]]; then
  # The fewest that reach all of it.
  "$fuzzer" -set_cover_merge=1 -use_value_profile=0 -max_len=1024 "$work/merged" "$work/old" "$work/new" >/dev/null 2>&1
  # And of these a sample, from the shortest to the longest: a corpus is for people to look at, too.
  mapfile -t found < <(find "$work/merged" -type f -printf '%s %p\n' | sort -n | cut -d' ' -f2)
  rm -f "$corpus"/*.choices
  for ((i = 0; i < KEPT && i < ${#found[@]}; i++)); do
    file=${found[i * ${#found[@]} / (${#found[@]} < KEPT ? ${#found[@]} : KEPT)]}
    to_list "$file" >"$corpus/$(basename "$file" | cut -c1-12).choices"
  done
  printf '%d lists in the corpus\n' "$(find "$corpus" -name '*.choices' | wc -l)"
fi

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: instructions.sh PROGRAM [--update]
#
# Counts the instructions of each hot path under callgrind, per execution and beyond those of an empty loop, and
# compares them with instructions.txt. With --update: writes the counts, and limits 15 % (at least 2) above them, there.
set -euo pipefail

program=$1
budgets=$(dirname "$0")/instructions.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

valgrind --tool=callgrind --quiet --callgrind-out-file="$scratch/out" "$program" >"$scratch/executions"

# A line "desc: Trigger: Client Request: NAME" and one "summary: COUNT" in each dump.
for dump in "$scratch"/out.*; do
  awk '/^desc: Trigger: Client Request:/ { name = $NF }  /^(summary|totals):/ { count = $2 }
       END { if (name != "") print name, count }' "$dump"
done >"$scratch/counts"

# PATH INSTRUCTIONS, in the order in which they were run; the first is the empty loop.
awk 'NR == FNR { count[$1] = $2; next }
     !($1 in count) { print "no count of " $1 > "/dev/stderr"; exit 1 }
     FNR == 1 { control = count[$1] / $2; next }
     { printf "%s %.1f\n", $1, count[$1] / $2 - control }' "$scratch/counts" "$scratch/executions" >"$scratch/now"

if [[ ${2:-} == --update ]]; then
  {
    sed -n '/^#/p' "$budgets"
    awk '{ limit = $2 * 1.15; if (limit < $2 + 2) limit = $2 + 2
           printf "%-28s %10.1f %10.0f\n", $1, $2, limit }' "$scratch/now"
  } >"$scratch/budgets"
  cp "$scratch/budgets" "$budgets"
fi

awk 'BEGIN { printf "%-28s %10s %10s %10s\n", "path", "budgeted", "limit", "now" }
     NR == FNR { if ($0 !~ /^#/) { was[$1] = $2; limit[$1] = $3; unseen[$1] = 1 } next }
     { verdict = !($1 in limit) ? "NO BUDGET" : $2 > limit[$1] ? "TOO MANY" : ""
       if (verdict != "") failed = 1
       delete unseen[$1]
       printf "%-28s %10s %10s %10.1f  %s\n", $1, was[$1], limit[$1], $2, verdict }
     END { for (path in unseen) { print path ": has a budget and is not run"; failed = 1 } exit failed }' \
  "$budgets" "$scratch/now"

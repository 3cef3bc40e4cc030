#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Wakes the planted bugs (mutants.txt), one at a time, and says which layer of the tests finds each: a table, and exit
# status 1 if one is not found that should be. The programs have been built (target jobcore_mutant_tests).
#
#   run.sh BUILD_DIR [NAME...]      those, or all
#   QUICK=1 run.sh ...              looks only where the list says
#
# A mutant is found if a program exits with an error, crashes, or hangs: a test of the unit layers that prints nothing
# for $SILENCE seconds. (Campaigns and controlled threads see to hangs themselves.) The layer and tests that the list
# names in `find` come first, each layer as a whole after that.
set -euo pipefail

readonly SILENCE=${SILENCE:-15}
readonly SEEDS=${SEEDS:-5000}  # where it is known which test finds it; the number that it took is in the table
readonly LAYERS=(threads sim instrumented unit gate journal qmp)
declare -rA BUDGET=([threads]=40 [sim]=40 [instrumented]=20 [unit]=60 [gate]=30 [journal]=30 [qmp]=60)  # seconds for a layer
list=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/mutants.txt

field() {  # field MUTANT KEY: its value, or nothing
  awk -v mutant="$1" -v key="$2" '
    /^<<<<$/ { edit = 1 } /^>>>>$/ { edit = 0 } edit { next }
    $1 == "mutant:" { mine = $2 == mutant }
    mine && $1 == key ":" { sub(/^[a-z]+: /, ""); print; exit }' "$list"
}
names() { awk '/^<<<<$/ { edit = 1 } /^>>>>$/ { edit = 0 } !edit && $1 == "mutant:" { print $2 }' "$list"; }
program() { printf '%s/tests/mutants/jobcore_%s_mutants_test' "$build" "$1"; }

# try MUTANT LAYER FILTER: 0 if it is found; then `test`, `how` and `schedules` say what has happened.
try() {
  local mutant=$1 layer=$2 filter=$3 seeds=${4:-} line pid rc=0 silent=0 out wait_for
  [[ -x $(program "$layer") ]] || return 1
  test=$filter how='' schedules=-
  case $layer in
    threads | sim) wait_for=${BUDGET[$layer]} ;;
    *) wait_for=$SILENCE ;;
  esac
  exec {out}< <(
    export JOBCORE_MUTANT=$mutant JOBCORE_SHRINK_SECONDS=0
    [[ -z $seeds ]] || export JOBCORE_SEEDS=$seeds
    exec timeout -k 2 "${limit:-${BUDGET[$layer]}}" "$(program "$layer")" --gtest_filter="$filter" --gtest_fail_fast 2>&1)
  pid=$!
  while true; do
    IFS= read -r -t "$wait_for" -u "$out" line || {
      (($? <= 128)) || silent=1
      break
    }
    case $line in
      *'[ RUN      ] '*) [[ -n $how ]] || test=${line#*'[ RUN      ] '} ;;
      *'FAILED  ] '*.*' ('*) [[ -n $how ]] || how='a check failed' ;;
      *'AddressSanitizer: '*) how=${line##*Sanitizer: } how=${how%% on *} how=${how%% (*} ;;
      *'LeakSanitizer: '*) how=leak ;;
      *', number '*' of this campaign: '*)
        schedules=${line#*, number } schedules=${schedules%% of*}
        how=${line#*of this campaign: } ;;
      'violated: '*) how=$line ;;
      *'runtime error: '*) how=${line#*runtime error: } ;;
    esac
  done
  ((!silent)) || kill -TERM "$pid" 2>/dev/null || true  # and so its whole group
  exec {out}<&-
  wait "$pid" || rc=$?
  if ((silent)); then
    how='hang'
  elif ((rc == 0 || rc == 124 || rc == 137)); then
    return 1
  elif [[ -z $how ]]; then
    how=$( ((rc > 128)) && printf 'signal %d' $((rc - 128)) || printf 'exit status %d' "$rc")
  fi
}

one() {  # prints a line of the table, in columns that a bar separates
  local mutant=$1 hint layer test='' how='' schedules=- start=$EPOCHREALTIME found='' remark=''
  local expect limit=''
  expect=$(field "$mutant" expect)
  [[ -z $expect ]] || limit=10 QUICK=1  # nobody is to wait for what is not expected
  hint=$(field "$mutant" find)
  if [[ -n $hint ]]; then
    if try "$mutant" "${hint%%:*}" "${hint#*:}" "$SEEDS"; then found=${hint%%:*}; else remark='not where the list says'; fi
  fi
  for layer in "${LAYERS[@]}"; do
    [[ -z $found && -z ${QUICK:-} ]] || break
    if try "$mutant" "$layer" '*'; then found=$layer; fi
  done
  [[ -n $found ]] || { test=- how='NOT FOUND' schedules=-; }
  [[ -z $expect ]] || remark="expected: ${expect%%,*}"
  printf '%s|%s|%s|%s|%s|%s|%.1f|%s\n' "$mutant" "$(field "$mutant" races)" "${found:-none}" "$test" "$schedules" \
    "${how//|/ }" "$(awk "BEGIN { print $EPOCHREALTIME - $start }")" "$remark"
}

if [[ ${1:-} == --one ]]; then
  build=$2
  one "$3"
  exit
fi

build=${1:?usage: run.sh BUILD_DIR [NAME...]}
shift
wanted=("$@")
((${#wanted[@]})) || mapfile -t wanted < <(names)
for name in "${wanted[@]}"; do
  [[ -n $(field "$name" what) ]] || { printf 'no mutant is called %s\n' "$name" >&2; exit 2; }
done

results=$(mktemp)
trap 'rm -f "$results"' EXIT
printf '%s\n' "${wanted[@]}" | xargs -P "$(nproc)" -n1 "${BASH_SOURCE[0]}" --one "$build" | tee >(
  awk -F'|' '{ printf "%-34s %-12s %s\n", $1, $3, $4; fflush() }' >&2) >"$results"

printf '\n%-34s %-14s %-12s %9s %7s  %s\n' mutant races layer schedules seconds 'test: what happens'
failed=0 missed=() surprises=()
for name in "${wanted[@]}"; do
  IFS='|' read -r _ races layer test schedules how seconds remark < <(grep "^$name|" "$results")
  printf '%-34s %-14s %-12s %9s %7s  %s: %s%s\n' "$name" "$races" "$layer" "$schedules" "$seconds" "$test" "$how" \
    "${remark:+ ($remark)}"
  [[ $layer != none || -n $(field "$name" expect) ]] || missed+=("$name")
  [[ $remark != 'not where'* ]] || surprises+=("$name")
done

# A test that fails without any mutant has found nothing.
for layer in "${LAYERS[@]}"; do
  filter=$(awk -F'|' -v layer="$layer" '$3 == layer { print $4 }' "$results" | sort -u | paste -sd:)
  [[ -n $filter ]] || continue
  if ! env -u JOBCORE_MUTANT timeout 300 "$(program "$layer")" --gtest_filter="$filter" --gtest_brief=1; then
    printf 'the tests of layer %s fail without any mutant, too\n' "$layer"
    failed=1
  fi
done

awk -F'|' '{ n[$3]++ } END { for (layer in n) printf "%s: %d  ", layer, n[layer]; print "" }' "$results"
((!${#surprises[@]})) || printf 'found by other tests than the list says: %s\n' "${surprises[*]}"
if ((${#missed[@]})); then
  printf 'NOT FOUND: %s\n' "${missed[*]}"
  failed=1
fi
exit $failed

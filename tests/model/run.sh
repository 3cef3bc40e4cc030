#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh MODEL.pml [VARIANT]: verifies the model exhaustively; then each of its variants must be refuted (or only that
# one is tried, and how it fails is shown).
#
# Variants are listed at the top of the model, one a line: "BUG_NAME: what is wrong. R-number".
set -euo pipefail

die() { echo "model: $*" >&2; exit 1; }
command -v spin >/dev/null || die "spin is missing: apt-get install spin"
compiler=${CC:-cc}
command -v "$compiler" >/dev/null || die "a C compiler is missing: apt-get install gcc"

model=$(realpath -- "$1") only=${2:-}
name=$(basename "$model" .pml)
mapfile -t variants < <(sed -n 's|^ *\(BUG_[A-Z0-9_]*\): .* R-[0-9]*\( \*/\)\?$|\1|p' "$model")
((${#variants[@]})) || die "$name lists no variants"
# One that is listed and not planted, or planted and not listed, would go unnoticed.
diff <(printf '%s\n' "${variants[@]}" | sort -u) <(grep -oE 'VARIANT\(BUG_[A-Z0-9_]*' "$model" | cut -d'(' -f2 | sort -u) ||
  die "$name: the variants that are listed are not those that are planted"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

search() {  # search OPTIMISATION [-D…]: leaves pan's report in $report, and what counts in $errors, $states, $seconds
  local begin=${EPOCHREALTIME/[.,]/} optimisation=$1
  shift
  (cd "$work" && rm -f ./*.trail && spin -a "$@" "$model" >spin.log 2>&1 && "$compiler" "$optimisation" -DSAFETY -w -o pan pan.c) ||
    die "$name $*: does not compile: $(cat "$work/spin.log")"
  report=$(cd "$work" && ./pan -m100000 2>&1) || die "$name $*: pan has failed: $report"
  local hundredths=$(((${EPOCHREALTIME/[.,]/} - begin) / 10000))
  seconds=$(printf '%d.%02d' $((hundredths / 100)) $((hundredths % 100)))
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' <<<"$report")
  errors=$(sed -n 's/^State-vector .* errors: \([0-9]*\)$/\1/p' <<<"$report")
  [[ -n $errors && -n $states ]] || die "$name $*: cannot read pan's report: $report"
}

row() { printf '%-14s %-26s %-10s %10s %8s\n' "$@"; }

if [[ -n $only ]]; then
  search -O0 "-D$only"
  [[ $errors != 0 ]] || die "$name $only: not refuted"
  (cd "$work" && spin -t -p -g "-D$only" -k "$name.pml.trail" "$model")
  exit 0
fi

failed=0
row model variant verdict states seconds
search -O1
verdict=verified
if [[ $errors != 0 ]]; then
  verdict=WRONG
elif grep -qiE 'max search depth too small|search not completed|bit statespace|hash-compact|out of memory|truncated' \
    <<<"$report" || ! grep -qE '^Full statespace search' <<<"$report"; then
  verdict=INCOMPLETE
fi
row "$name" '(none)' "$verdict" "$states" "$seconds"
[[ $verdict == verified ]] || { failed=1; echo "$report"; }
for variant in "${variants[@]}"; do
  search -O0 "-D$variant"
  verdict=refuted
  [[ $errors != 0 ]] || { verdict=MISSED failed=1; }
  row "$name" "$variant" "$verdict" "$states" "$seconds"
done
exit "$failed"

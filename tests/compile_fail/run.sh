#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks one snippet that must be refused:  run.sh SNIPPET.cc
#
#   // EXPECT: <extended regex>          one or more; each must occur in the diagnostics
#   // TOOL: clang-tidy <check>          refused by this clang-tidy check instead of by the compiler
#
# The offending part stands inside `#ifdef SHOULD_FAIL ... #endif`. Without the macro the snippet
# must be accepted: that shows that it is refused for the offending part and nothing else.
set -euo pipefail

snippet=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
clangxx=${CLANGXX:-clang++-19}
clang_tidy=${CLANG_TIDY:-clang-tidy-19}
flags=(-std=c++20 -I"$root/include" -I"$root/src" -I"$root/tests")

check=$(sed -n 's|^// TOOL: clang-tidy \([^ ]*\).*|\1|p' "$snippet" | head -1)
mapfile -t expected < <(sed -n 's|^// EXPECT: ||p' "$snippet")
if [[ -n $check ]]; then
  expected+=("\\[${check}[],]")
fi

verdict() {  # verdict [-DSHOULD_FAIL]: prints the diagnostics, returns non-zero when refused
  if [[ -n $check ]]; then
    "$clang_tidy" --quiet --config-file="$root/.clang-tidy" --checks="-*,$check" \
      --warnings-as-errors="$check" "$snippet" -- "${flags[@]}" "$@" 2>&1
  else
    "$clangxx" "${flags[@]}" -fsyntax-only -Wthread-safety -Werror=thread-safety-analysis "$@" \
      "$snippet" 2>&1
  fi
}

fail() {
  printf 'compile_fail: %s: %s\n--- diagnostics\n%s\n' "$(basename "$snippet")" "$1" "$output"
  exit 1
}

output=
((${#expected[@]})) || fail "no '// EXPECT:' and no '// TOOL:' line"
grep -q '^#ifdef SHOULD_FAIL' "$snippet" || fail "no '#ifdef SHOULD_FAIL' part"

output=$(verdict) || fail "refused even without SHOULD_FAIL"
output=$(verdict -DSHOULD_FAIL) && fail "accepted, but must be refused"
for regex in "${expected[@]}"; do
  grep -qE -- "$regex" <<<"$output" || fail "refused, but no diagnostic matches: $regex"
done
printf 'refused as expected: %s\n' "${expected[@]}"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh README EXAMPLE_SOURCE EXAMPLE_PROGRAM: the README's code is the example's, and its output is what the
# example prints.
set -euo pipefail
readme=$1 source=$2 program=$3

block() {  # the first fenced block of that language
  awk -v fence="\`\`\`$1" '$0 == fence {on = 1; next} on && $0 == "```" {exit} on' "$readme"
}

diff -u <(sed -n '/^class /,$p' "$source") <(block cpp) || { echo "README's code is not $source"; exit 1; }
diff -u <("$program") <(block text) || { echo "README's output is not what the example prints"; exit 1; }
echo "README says what the example does"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs a finished build and uses it the ways that users do:  run.sh BUILD_DIR [CMAKE [CXX]]
# find_package, pkg-config, add_subdirectory, and find_package of a shared library; jobcore::testing; and
# jobcore::jobcore_tsan, which is added to what is installed.
set -euo pipefail

build=$1
cmake=${2:-cmake}
export CXX=${3:-g++}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log

step() { printf '== %s\n' "$1"; }
quietly() {  # the output only matters when the command fails
  "$@" >"$log" 2>&1 || { printf 'failed: %s\n' "$*"; cat "$log"; exit 1; }
}
consume() {  # consume NAME [cmake option...]: configure, build and run the consumer
  local dir=$work/$1
  shift
  quietly "$cmake" -G Ninja -S "$here/consumer" -B "$dir" -DCMAKE_BUILD_TYPE=Release "$@"
  quietly "$cmake" --build "$dir"
  "$dir/consumer"
}
refused() {  # refused PATTERN [cmake option...]: the consumer must not configure, and say that
  local pattern=$1
  shift
  rm -rf "$work/refused"
  if "$cmake" -G Ninja -S "$here/consumer" -B "$work/refused" "$@" >"$log" 2>&1; then
    echo "configured, but should not have: $*"
    exit 1
  fi
  # CMake breaks lines where it likes.
  tr -s '\n ' '  ' <"$log" | grep -oE -- "$pattern" || { echo "refused without '$pattern':"; cat "$log"; exit 1; }
}
under_tsan() {  # under_tsan PROGRAM [ARGUMENT]: its reports go to $log; fails if there are any
  env TSAN_OPTIONS=exitcode=66 "$@" >"$log" 2>&1
}
finds_the_race() {  # finds_the_race PROGRAM: silent without the race; with it, the only report is that race
  under_tsan "$1" || { echo "not clean under ThreadSanitizer:"; cat "$log"; exit 1; }
  cat "$log"
  if under_tsan "$1" --race; then
    echo "ThreadSanitizer does not see the race that we planted:"
    cat "$log"
    exit 1
  fi
  grep '^SUMMARY: ThreadSanitizer: data race .*consumer/tsan\.cc' "$log" || { cat "$log"; exit 1; }
  if grep '^SUMMARY' "$log" | grep -v 'consumer/tsan\.cc'; then
    echo "and it reports more than that"
    exit 1
  fi
}
no_leaks() {  # no_leaks PREFIX: nothing installed may know where it was built
  local path
  for path in "$source" "$build"; do
    if grep -rnIF -- "$path" "$1"; then  # -I: the libraries' debug information may
      echo "an installed file names $path"
      exit 1
    fi
  done
}

step "install, then move the tree: nothing may depend on the prefix"
quietly "$cmake" --install "$build" --prefix "$work/first"
no_leaks "$work/first"
mv "$work/first" "$work/prefix"

step "find_package"
consume by_package -DCMAKE_PREFIX_PATH="$work/prefix"

step "pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name jobcore.pc)")
export PKG_CONFIG_PATH
for mode in "" --static; do
  # shellcheck disable=SC2046,SC2086  # the flags are words, and no mode is no word
  quietly "$CXX" -std=c++20 "$here/consumer/main.cc" -o "$work/by_pkg_config" \
    $(pkg-config $mode --cflags --libs jobcore)
  "$work/by_pkg_config"
done

step "jobcore::testing"
testing=(-DSOURCE=testing.cc -DLIBRARIES=jobcore::testing -DCOMPONENTS=testing)
consume by_testing -DCMAKE_PREFIX_PATH="$work/prefix" "${testing[@]}"
# shellcheck disable=SC2046
quietly "$CXX" -std=c++20 "$here/consumer/testing.cc" -o "$work/by_pkg_config" \
  $(pkg-config --cflags --libs jobcore-testing)
"$work/by_pkg_config"

step "jobcore::jobcore_tsan, added to what is installed"
tsan=(-DSOURCE=tsan.cc -DLIBRARIES=jobcore::jobcore_tsan -DCOMPONENTS=tsan)
tsan_build=$build
if ! grep -q '^JOBCORE_BUILD_TSAN:BOOL=ON' "$build/CMakeCache.txt"; then
  refused 'built without -DJOBCORE_BUILD_TSAN=ON' -DCMAKE_PREFIX_PATH="$work/prefix" "${tsan[@]}"
  tsan_build=$work/tsan
  quietly "$cmake" -G Ninja -S "$source" -B "$tsan_build" -DCMAKE_BUILD_TYPE=Release \
    -DJOBCORE_BUILD_TSAN=ON -DJOBCORE_BUILD_TESTS=OFF -DJOBCORE_BUILD_TOOLS=OFF
  quietly "$cmake" --build "$tsan_build" --target jobcore_tsan
fi
quietly "$cmake" --install "$tsan_build" --prefix "$work/prefix" --component tsan
no_leaks "$work/prefix"

step "find_package, under ThreadSanitizer"
quietly "$cmake" -G Ninja -S "$here/consumer" -B "$work/by_tsan" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_PREFIX_PATH="$work/prefix" "${tsan[@]}"
quietly "$cmake" --build "$work/by_tsan"
finds_the_race "$work/by_tsan/consumer"

step "pkg-config, under ThreadSanitizer"
# shellcheck disable=SC2046
quietly "$CXX" -std=c++20 -O2 -g "$here/consumer/tsan.cc" -o "$work/by_pkg_config" \
  $(pkg-config --cflags --libs jobcore-tsan)
finds_the_race "$work/by_pkg_config"

step "for comparison: the same program without the race, but with the production build"
# shellcheck disable=SC2046
quietly "$CXX" -std=c++20 -O2 -g -fsanitize=thread "$here/consumer/tsan.cc" -o "$work/by_pkg_config" \
  $(pkg-config --cflags --libs jobcore)
under_tsan "$work/by_pkg_config" || true  # it depends on the schedule, so nothing is asserted
printf 'false reports: %d\n' "$(grep -c '^SUMMARY' "$log")"

step "what CMake refuses"
refused 'INTERFACE_JOBCORE_BUILD property of .* does not agree' -DCMAKE_PREFIX_PATH="$work/prefix" \
  '-DLIBRARIES=jobcore::jobcore;jobcore::jobcore_tsan'
refused 'INTERFACE_JOBCORE_BUILD property of .* does not agree' -DCMAKE_PREFIX_PATH="$work/prefix" \
  '-DLIBRARIES=jobcore::testing;jobcore::block'
refused "jobcore has no component 'tasn'" -DCMAKE_PREFIX_PATH="$work/prefix" -DCOMPONENTS=tasn

step "add_subdirectory"
consume by_subdirectory -DJOBCORE_SOURCE_DIR="$source"
if [[ -n $(find "$work/by_subdirectory" -name '*_test' -o -name jobctl) ]]; then
  echo "a program that uses jobcore must not build its tests and tools"
  exit 1
fi

step "find_package, shared"
quietly "$cmake" -G Ninja -S "$source" -B "$work/shared" -DCMAKE_BUILD_TYPE=Release \
  -DBUILD_SHARED_LIBS=ON -DJOBCORE_BUILD_TESTS=OFF -DJOBCORE_BUILD_TOOLS=OFF
quietly "$cmake" --build "$work/shared"
quietly "$cmake" --install "$work/shared" --prefix "$work/shared_prefix"
no_leaks "$work/shared_prefix"
consume by_shared -DCMAKE_PREFIX_PATH="$work/shared_prefix"
refused 'built without -DJOBCORE_BUILD_TESTING=ON' -DCMAKE_PREFIX_PATH="$work/shared_prefix" "${testing[@]}"
library=$(find "$work/shared_prefix" -name libjobcore.so)
soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[[ $soname =~ ^libjobcore\.so\.[0-9]+\.[0-9]+$ ]] || { echo "unexpected soname: '$soname'"; exit 1; }
echo "soname $soname"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs a finished build and uses it the ways that users do:  run.sh BUILD_DIR [CMAKE [CXX]]
# find_package, pkg-config, add_subdirectory, and find_package of a shared library.
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
library=$(find "$work/shared_prefix" -name libjobcore.so)
soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[[ $soname =~ ^libjobcore\.so\.[0-9]+\.[0-9]+$ ]] || { echo "unexpected soname: '$soname'"; exit 1; }
echo "soname $soname"

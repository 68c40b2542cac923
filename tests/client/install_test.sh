#!/bin/bash
# An engine's developer installs Terrace and builds hello.cc against it, twice: with g++ by
# pkg-config, and with clang++ by find_package; hello.c with gcc, as C11; and paged.cc with g++. All
# then talk to a daemon, when there is one.
#   install_test.sh BUILD_DIRECTORY SOURCE_DIRECTORY
set -euo pipefail

build=$1
source=$2
# shellcheck source=tests/common/daemon_helpers.sh
source "$source/tests/common/daemon_helpers.sh"
prepare "$build/bin"
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" --component client >"$work/install.log" ||
  { cat "$work/install.log"; exit 1; }
for file in include/terrace/{terrace.h,terrace_types.h,terrace.hpp,types.hpp} \
  include/terrace/{layout.hpp,paged.hpp,terrace_paged.h} \
  include/terrace/base/{ack,limits,presence,result,status,tier_kind}.h \
  lib/libterrace.so lib/libterrace.so.1 lib/libterrace.so.1.0.1.0 lib/pkgconfig/terrace.pc \
  lib/cmake/Terrace/TerraceConfig.cmake lib/cmake/Terrace/TerraceConfigVersion.cmake; do
  [[ -e $prefix/$file ]] || { echo "not installed: $file"; exit 1; }
done
# Not piped into grep -q, which would end objdump by SIGPIPE.
headers=$(objdump -p "$prefix/lib/libterrace.so")
grep -q 'SONAME  *libterrace.so.1$' <<<"$headers" ||
  { echo "libterrace.so has the wrong SONAME"; exit 1; }

# A sanitized library needs a sanitized program.
sanitize=$(sed -n 's/^TERRACE_SANITIZE:[A-Z]*=//p' "$build/CMakeCache.txt")
programs=()

if [[ -z $sanitize ]] && command -v g++ >/dev/null; then
  export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
  # The flags are words on purpose.
  # shellcheck disable=SC2046
  g++ -Wall -Wextra -Werror -DTERRACE_INSTALLED "$source/client/examples/hello.cc" \
    -o "$work/hello-gcc" $(pkg-config --cflags --libs terrace) "-Wl,-rpath,$prefix/lib"
  programs+=("$work/hello-gcc")
  # shellcheck disable=SC2046
  g++ -Wall -Wextra -Werror -DTERRACE_INSTALLED "$source/client/examples/paged.cc" \
    -o "$work/paged-gcc" $(pkg-config --cflags --libs terrace) "-Wl,-rpath,$prefix/lib"
  programs+=("$work/paged-gcc")
  # The C++ standard in the flags is not for C: only where to look and what to link.
  # shellcheck disable=SC2046
  gcc -std=c11 -pedantic -Wall -Wextra -Werror -DTERRACE_INSTALLED \
    "$source/client/examples/hello.c" -o "$work/hello-c" \
    $(pkg-config --cflags-only-I --libs terrace) "-Wl,-rpath,$prefix/lib"
  programs+=("$work/hello-c")
  # C++ of an engine that is older than C++20 takes the C header.
  echo '#include <terrace/terrace_paged.h>' | g++ -std=c++11 -pedantic -Wall -Wextra -Werror \
    -I"$prefix/include" -fsyntax-only -x c++ -
fi

mkdir "$work/project"
cp "$source/client/examples/hello.cc" "$work/project"
cat >"$work/project/CMakeLists.txt" <<'PROJECT'
cmake_minimum_required(VERSION 3.25)
project(hello LANGUAGES CXX)
find_package(Terrace 0.1 REQUIRED)
add_executable(hello hello.cc)
target_compile_definitions(hello PRIVATE TERRACE_INSTALLED)
target_link_libraries(hello PRIVATE Terrace::terrace)
PROJECT
cmake -S "$work/project" -B "$work/project/build" -DCMAKE_CXX_COMPILER=clang++-19 \
  -DCMAKE_CXX_FLAGS="${sanitize:+-fsanitize=$sanitize}" -DCMAKE_PREFIX_PATH="$prefix" \
  >"$work/configure.log" || { cat "$work/configure.log"; exit 1; }
cmake --build "$work/project/build" >"$work/build.log" || { cat "$work/build.log"; exit 1; }
programs+=("$work/project/build/hello")

if [[ ! -x $build/bin/terraced ]]; then
  echo "built ${#programs[@]} programs; there is no terraced to run them with"
  exit 0
fi
write_config 1 64MiB
start_daemon
for program in "${programs[@]}"; do
  timeout 60 "$program" "$address" || die "$program failed"
done
stop_daemon
echo "built and ran ${#programs[@]} programs"

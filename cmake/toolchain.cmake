# The compiler and the flags that every target of Terrace is built with.

# GCC before 13 miscompiles ordinary coroutine code (frames destroyed twice, wild jumps; GCC PR
# 106188 and 106713). The public client headers hold no coroutine and compile with g++ 12.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR
    "g++ ${CMAKE_CXX_COMPILER_VERSION} miscompiles coroutines (GCC PR 106188, 106713). "
    "Use clang 19 (cmake --preset release picks it), or g++ 13 and later.")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

add_library(terrace_flags INTERFACE)
target_compile_options(terrace_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wimplicit-fallthrough -Werror)
target_include_directories(terrace_flags INTERFACE
  ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)

set(TERRACE_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread")
if(TERRACE_SANITIZE)
  # Without object-size, which finds at a fifth of the compiler's time what ASan finds when it runs.
  add_compile_options(-fsanitize=${TERRACE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all -fno-sanitize=object-size)
  add_link_options(-fsanitize=${TERRACE_SANITIZE})
endif()

# Fuzzers instead of tests (tests/fuzz): everything counts the edges that it takes, and tells what
# it compares. Or beside the tests, for a sample: it counts edges only, and is slower.
option(TERRACE_FUZZ "Build the fuzzers alone" OFF)
option(TERRACE_FUZZ_SAMPLE "Build the fuzzers too" OFF)
if(TERRACE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
elseif(TERRACE_FUZZ_SAMPLE)
  add_compile_options(-fsanitize-coverage=inline-8bit-counters,pc-table)
endif()

find_program(TERRACE_CCACHE ccache)
if(TERRACE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # ccache gives up on precompiled headers unless told that no source looks at __TIME__ or at macros
  # that they define (cmake/precompiled.cmake).
  set(CMAKE_CXX_COMPILER_LAUNCHER
    /usr/bin/env CCACHE_SLOPPINESS=pch_defines,time_macros ${TERRACE_CCACHE})
endif()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# Functions that the folders' CMakeLists.txt use.

# terrace_library(NAME SOURCES a.cc ... LINK lib ...): a static library of one room.
function(terrace_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_LINK} PRIVATE terrace_flags)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
endfunction()

# terrace_program(NAME SOURCES a.cc ... LINK lib ...): a program in build/<preset>/bin.
function(terrace_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} terrace_flags)
endfunction()

# What a sanitizer needs to know, for every test of a build that has one. A finding ends the test.
# Suppressions are for other people's libraries only, each with its reason in the file.
set(TERRACE_SANITIZER_ENVIRONMENT "")
set(TERRACE_TIMEOUT_FACTOR 1)
# -O0 where code compiles for longer than it runs: in half of the time, so. The tests; and under
# sanitizers folders that say add_compile_options(${TERRACE_COLD_OPTIONS}). What the tests wait for
# stays optimised, and so does everything that is fuzzed at length.
set(TERRACE_TEST_OPTIONS -O0)
set(TERRACE_COLD_OPTIONS "")
if(TERRACE_FUZZ_SAMPLE)
  list(APPEND TERRACE_TEST_OPTIONS -fno-sanitize-coverage=inline-8bit-counters,pc-table)
endif()
if(TERRACE_SANITIZE)
  if(NOT TERRACE_FUZZ)
    set(TERRACE_COLD_OPTIONS -O0)
  endif()
  set(TERRACE_TIMEOUT_FACTOR 4)  # slower code on a machine of 2 cores
  set(suppressions ${PROJECT_SOURCE_DIR}/tests/sanitizers)
  string(JOIN ":" tsan_options
    suppressions=${suppressions}/tsan.txt halt_on_error=1 second_deadlock_stack=1
    ignore_noninstrumented_modules=1)  # UCX and RocksDB are Debian's, built without TSan
  set(TERRACE_SANITIZER_ENVIRONMENT
    "ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:check_initialization_order=1"
    "LSAN_OPTIONS=suppressions=${suppressions}/lsan.txt:print_suppressions=0"
    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
    "TSAN_OPTIONS=${tsan_options}"
    "ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-19/bin/llvm-symbolizer"
    "TSAN_SYMBOLIZER_PATH=/usr/lib/llvm-19/bin/llvm-symbolizer")
endif()

# `ninja unit_tests` and `ninja thread_tests` build what `ctest -L unit` and `-L threads` run, so
# that a sanitizer build compiles nothing else.
if(NOT TARGET unit_tests)
  add_custom_target(unit_tests)
  add_custom_target(thread_tests)
endif()

# terrace_test(NAME SOURCES a.cc ... LINK lib ... [LABELS unit|integration threads] [TIMEOUT s]
#              [ENVIRONMENT K=V ...] [NEEDS target ...]): a GoogleTest program, one ctest entry.
# Label "unit" runs under ASan+UBSan too, label "threads" under TSan too. NEEDS: other programs
# that the test starts, built before it.
function(terrace_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS;ENVIRONMENT;NEEDS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  math(EXPR timeout_s "${ARG_TIMEOUT} * ${TERRACE_TIMEOUT_FACTOR}")
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest GTest::gtest_main
    terrace_flags)
  target_compile_options(${name} PRIVATE ${TERRACE_TEST_OPTIONS})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(ARG_NEEDS)
    add_dependencies(${name} ${ARG_NEEDS})
  endif()
  if("unit" IN_LIST ARG_LABELS)
    add_dependencies(unit_tests ${name})
  endif()
  if("threads" IN_LIST ARG_LABELS)
    add_dependencies(thread_tests ${name})
  endif()
  set(environment ${TERRACE_SANITIZER_ENVIRONMENT} ${ARG_ENVIRONMENT})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${timeout_s}
    ENVIRONMENT "${environment}")
endfunction()

# terrace_script_test(NAME COMMAND program argument ... [TIMEOUT s]): a script that exits 0 when
# all is well, run in the repository's root; a ctest entry with label integration.
function(terrace_script_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "COMMAND" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${ARG_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS integration TIMEOUT ${ARG_TIMEOUT})
endfunction()

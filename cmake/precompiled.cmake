# The headers of others that most sources include, read by the compiler once for each kind of
# target: to parse a small header of ours then takes 0.15 s instead of 0.9. What a source must
# include itself tests/integration/includes_test.py looks at; lint and the preset `debug` do without
# this.

option(TERRACE_PRECOMPILED "Precompile the headers of the standard library (clang only)" OFF)

set(TERRACE_PRECOMPILED_HEADERS
  algorithm array atomic bit cerrno charconv chrono cmath condition_variable coroutine cstddef
  cstdint cstdio cstdlib cstring deque exception filesystem fstream functional iostream iterator
  limits list map memory mutex new numeric optional set span sstream string string_view
  system_error thread tuple type_traits unordered_map unordered_set utility variant vector
  flatbuffers/flatbuffers.h)

# terrace_precompile(NAME FLAGS flag ... HEADERS header ...): a target that makes NAME.pch, the same
# bytes in every clone: no path of ours is in it, so that ccache's objects are good for all clones.
function(terrace_precompile name)
  cmake_parse_arguments(ARG "" "" "FLAGS;HEADERS" ${ARGN})
  set(pch ${CMAKE_BINARY_DIR}/precompiled/${name}.pch)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
  separate_arguments(flags UNIX_COMMAND "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}}")
  get_property(options DIRECTORY ${PROJECT_SOURCE_DIR} PROPERTY COMPILE_OPTIONS)
  list(TRANSFORM ARG_HEADERS PREPEND "-include;")
  add_custom_command(OUTPUT ${pch}
    COMMAND ${CMAKE_CXX_COMPILER} ${flags} ${options} ${CMAKE_CXX20_STANDARD_COMPILE_OPTION}
      ${ARG_FLAGS} -fpch-instantiate-templates -Xclang -fno-pch-timestamp
      -x c++-header ${ARG_HEADERS} /usr/include/stdc-predef.h -o ${pch}
      -MD -MT ${pch} -MF ${pch}.d
    DEPENDS ${PROJECT_SOURCE_DIR}/cmake/precompiled.cmake DEPFILE ${pch}.d
    WORKING_DIRECTORY / COMMENT "Precompiling headers (${name})" VERBATIM)
  add_custom_target(precompiled_${name} DEPENDS ${pch})
endfunction()

# Called once all targets are known.
function(terrace_precompiled)
  if(NOT TERRACE_PRECOMPILED OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    return()
  endif()
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/precompiled)
  set(headers ${TERRACE_PRECOMPILED_HEADERS})
  # clang takes such a file only where position independence and optimising are as they were.
  foreach(speed "" _cold)
    set(options "")
    if(speed)
      set(options ${TERRACE_COLD_OPTIONS})
    endif()
    terrace_precompile(library${speed} HEADERS ${headers}
      FLAGS ${CMAKE_CXX_COMPILE_OPTIONS_PIC} ${options})
    terrace_precompile(program${speed} HEADERS ${headers}
      FLAGS ${CMAKE_CXX_COMPILE_OPTIONS_PIE} ${options})
  endforeach()
  terrace_precompile(test HEADERS ${headers} gmock/gmock.h gtest/gtest.h
    FLAGS ${CMAKE_CXX_COMPILE_OPTIONS_PIE} ${TERRACE_TEST_OPTIONS} -DGTEST_HAS_PTHREAD=1)
  terrace_targets_below(${PROJECT_SOURCE_DIR} targets)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    get_target_property(libraries ${target} LINK_LIBRARIES)
    if(type STREQUAL "EXECUTABLE" AND "GTest::gtest" IN_LIST libraries)
      set(name test)
    elseif(type STREQUAL "EXECUTABLE")
      set(name program)
    elseif(type MATCHES "^(STATIC|SHARED|MODULE|OBJECT)_LIBRARY$")
      set(name library)
    else()
      continue()
    endif()
    get_target_property(options ${target} COMPILE_OPTIONS)
    if(NOT name STREQUAL "test" AND "-O0" IN_LIST options)
      string(APPEND name _cold)
    endif()
    set(pch ${CMAKE_BINARY_DIR}/precompiled/${name}.pch)
    target_compile_options(${target} PRIVATE
      "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include-pch ${pch}>")
    add_dependencies(${target} precompiled_${name})
  endforeach()
endfunction()

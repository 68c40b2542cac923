# Sources compiled as one, in groups whose names cannot meet (tools/checks/unity.py): a fifth of the
# time of compiling them one by one, where all is compiled. Whether each source includes what it
# uses tests/integration/includes_test.py looks at. A name that meets another one all the same is an
# error of the compiler: run cmake again, or set SKIP_UNITY_BUILD_INCLUSION of that source.
# Who changes a few sources again and again waits less with -DTERRACE_UNITY=OFF: a source that
# changes is compiled with its group.

option(TERRACE_UNITY "Compile sources in groups" OFF)

function(terrace_targets_below folder out)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(below DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(inner ${below})
    terrace_targets_below(${inner} more)
    list(APPEND targets ${more})
  endforeach()
  set(${out} ${targets} PARENT_SCOPE)
endfunction()

# Called once all targets are known. Names that changed since are seen when cmake runs again.
function(terrace_unity)
  if(NOT TERRACE_UNITY)
    return()
  endif()
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  terrace_targets_below(${PROJECT_SOURCE_DIR} targets)
  set(lines "")
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(NOT type MATCHES "^(STATIC_LIBRARY|OBJECT_LIBRARY|EXECUTABLE)$")
      continue()
    endif()
    get_target_property(folder ${target} SOURCE_DIR)
    get_target_property(sources ${target} SOURCES)
    set(line "${folder};${target}")
    foreach(source ${sources})
      if(source MATCHES "^[^$]*\\.cc$")
        cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${folder})
        string(APPEND line ";${source}")
      endif()
    endforeach()
    string(APPEND lines "${line}\n")
  endforeach()
  file(WRITE ${CMAKE_BINARY_DIR}/unity/targets "${lines}")
  execute_process(
    COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/checks/unity.py
      ${CMAKE_BINARY_DIR}/unity/targets ${CMAKE_BINARY_DIR}/unity/groups.cmake
    COMMAND_ERROR_IS_FATAL ANY)
  include(${CMAKE_BINARY_DIR}/unity/groups.cmake)
endfunction()

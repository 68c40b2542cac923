# The CUDA toolkit, when there is one: TERRACE_CUDA says whether its parts are built. A GPU or
# a driver is needed by neither the build nor the start of what it makes.
#
# nvcc is called by custom commands instead of CMake's CUDA language, because that links its probe
# with the flags of clang and lld, which nvcc does not know.

option(TERRACE_CUDA "Build what needs the CUDA toolkit, when nvcc is found" ON)

# What nvcc compiles has no sanitizer in it: such builds are those without CUDA, too.
if(TERRACE_SANITIZE)
  set(TERRACE_CUDA OFF)
endif()

if(TERRACE_CUDA)
  find_program(TERRACE_NVCC nvcc HINTS ENV CUDA_HOME PATH_SUFFIXES bin PATHS /usr/local/cuda/bin)
  find_program(TERRACE_NVCC_HOST NAMES g++-12 g++)
  if(NOT TERRACE_NVCC OR NOT TERRACE_NVCC_HOST)
    message(STATUS "CUDA: nvcc and a g++ for it were not found; built without GPU support")
    set(TERRACE_CUDA OFF)
  endif()
endif()

if(TERRACE_CUDA)
  get_filename_component(nvcc_real ${TERRACE_NVCC} REALPATH)
  get_filename_component(nvcc_bin ${nvcc_real} DIRECTORY)
  get_filename_component(cuda_root ${nvcc_bin} DIRECTORY)
  find_path(TERRACE_CUDA_INCLUDE cuda_runtime_api.h HINTS ${cuda_root}
    PATH_SUFFIXES include targets/x86_64-linux/include NO_DEFAULT_PATH)
  find_library(TERRACE_CUDART NAMES libcudart_static.a HINTS ${cuda_root}
    PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib NO_DEFAULT_PATH)
  if(NOT TERRACE_CUDA_INCLUDE OR NOT TERRACE_CUDART)
    message(STATUS "CUDA: ${cuda_root} has no runtime headers or libcudart_static.a; "
      "built without GPU support")
    set(TERRACE_CUDA OFF)
  else()
    message(STATUS "CUDA: ${TERRACE_NVCC}")
  endif()
endif()

# terrace_cuda: the headers of the runtime, and the runtime itself, linked statically: it looks for
# the driver when it is first called, so that a program starts on machines without one.
if(TERRACE_CUDA)
  add_library(terrace_cuda INTERFACE)
  target_include_directories(terrace_cuda SYSTEM INTERFACE ${TERRACE_CUDA_INCLUDE})
  target_compile_definitions(terrace_cuda INTERFACE TERRACE_CUDA=1)
  target_link_libraries(terrace_cuda INTERFACE ${TERRACE_CUDART} Threads::Threads dl rt)
endif()

# Machine code for A100 and Hopper, and PTX that later GPUs compile when they load it.
set(TERRACE_NVCC_FLAGS -std=c++20 -O3 -Xfatbin=-compress-all --expt-relaxed-constexpr
  --compiler-bindir ${TERRACE_NVCC_HOST} -gencode=arch=compute_80,code=sm_80
  -gencode=arch=compute_90,code=sm_90 -gencode=arch=compute_90,code=compute_90
  -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror,-fPIC,-fvisibility=hidden)

# terrace_cuda_objects(OUT a.cu ...): compiles them and sets OUT to the object files, to be listed
# among a library's sources.
function(terrace_cuda_objects out)
  set(objects "")
  foreach(source ${ARGN})
    cmake_path(ABSOLUTE_PATH source)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE name)
    set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
    get_filename_component(folder ${object} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(OUTPUT ${object}
      COMMAND ${TERRACE_CCACHE} ${TERRACE_NVCC} ${TERRACE_NVCC_FLAGS} -I ${PROJECT_SOURCE_DIR}
        -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source} DEPFILE ${object}.d
      COMMENT "Compiling ${name} with nvcc" VERBATIM COMMAND_EXPAND_LISTS)
    list(APPEND objects ${object})
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

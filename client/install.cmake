# cmake --install: the library, its headers, a pkg-config file and a CMake package.
include(CMakePackageConfigHelpers)

# lib/ as it stands in docs/client.md, not Debian's lib/x86_64-linux-gnu.
set(CMAKE_INSTALL_LIBDIR lib)
set(CMAKE_INSTALL_INCLUDEDIR include)
set(TERRACE_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Terrace)

# Installed headers include "terrace/base/status.h", so that an engine with a base/ of its own meets
# no stranger.
foreach(header ${CMAKE_CURRENT_SOURCE_DIR}/terrace.h
    ${CMAKE_CURRENT_SOURCE_DIR}/terrace_types.h ${CMAKE_CURRENT_SOURCE_DIR}/terrace.hpp
    ${CMAKE_CURRENT_SOURCE_DIR}/types.hpp ${CMAKE_CURRENT_SOURCE_DIR}/events.hpp
    ${CMAKE_CURRENT_SOURCE_DIR}/explain.hpp ${CMAKE_CURRENT_SOURCE_DIR}/layout.hpp
    ${CMAKE_CURRENT_SOURCE_DIR}/paged.hpp
    ${CMAKE_CURRENT_SOURCE_DIR}/terrace_events.h
    ${CMAKE_CURRENT_SOURCE_DIR}/terrace_paged.h ${TERRACE_PUBLIC_BASE_HEADERS})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
  get_filename_component(name ${header} NAME)
  set(folder "")
  if(header IN_LIST TERRACE_PUBLIC_BASE_HEADERS)
    set(folder base/)
  endif()
  file(READ ${header} text)
  string(REPLACE "#include \"base/" "#include \"terrace/base/" text "${text}")
  string(REPLACE "#include \"client/" "#include \"terrace/" text "${text}")
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/include/terrace/${folder}${name}
    CONTENT "${text}" @ONLY)
endforeach()
install(DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/include/terrace
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT client)

target_include_directories(terrace INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(terrace INTERFACE cxx_std_20)
install(TARGETS terrace EXPORT TerraceTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
install(EXPORT TerraceTargets NAMESPACE Terrace:: DESTINATION ${TERRACE_PACKAGE_DIR}
  COMPONENT client)

configure_package_config_file(TerraceConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/TerraceConfig.cmake
  INSTALL_DESTINATION ${TERRACE_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/TerraceConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
configure_file(terrace.pc.in ${CMAKE_CURRENT_BINARY_DIR}/terrace.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/TerraceConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/TerraceConfigVersion.cmake
  DESTINATION ${TERRACE_PACKAGE_DIR} COMPONENT client)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/terrace.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT client)

# SPDX-License-Identifier: Apache-2.0
# Headers go to <prefix>/include/jobcore with their include paths unchanged:
# #include "job-driver/job_driver.h".
#
# Components of the package and of `cmake --install --component`: core is jobcore, jobcore_gate, jobcore_journal, jobcore_block,
# jobcore_nbd, the headers and the package itself; testing and tsan are one library each, and may be added to an
# installed core. jobctl is in `tools`, which the package does not know.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/jobcore)

# The .pc files are relocatable: their paths are relative to themselves.
file(RELATIVE_PATH JOBCORE_PC_PREFIX /usr/${CMAKE_INSTALL_LIBDIR}/pkgconfig /usr)
list(TRANSFORM JOBCORE_ABSL_LIBS PREPEND absl_ OUTPUT_VARIABLE JOBCORE_PC_REQUIRES)
if(JOBCORE_NEEDS_LIBURING)
  list(APPEND JOBCORE_PC_REQUIRES liburing)
endif()
if(JOBCORE_NEEDS_SQLITE)
  list(APPEND JOBCORE_PC_REQUIRES sqlite3)
endif()
list(JOIN JOBCORE_PC_REQUIRES " " JOBCORE_PC_REQUIRES)

# jobcore_install(<component> <name of the .pc> <library> [DESCRIPTION <...>] [CFLAGS <...>]
#                 [LIBS <...>]): its libraries, if they are built.
function(jobcore_install component pc library)
  cmake_parse_arguments(ARG "" "DESCRIPTION;CFLAGS;LIBS" "" ${ARGN})
  get_property(targets GLOBAL PROPERTY JOBCORE_INSTALL_${component})
  if(NOT targets)
    return()
  endif()
  set(export jobcore-${component}-targets)
  install(TARGETS ${targets} EXPORT ${export}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${component}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${component}
          RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
  install(EXPORT ${export} NAMESPACE jobcore:: DESTINATION ${package_dir} COMPONENT ${component})

  configure_file(${CMAKE_CURRENT_FUNCTION_LIST_DIR}/jobcore.pc.in ${pc}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${pc}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT ${component})
endfunction()

jobcore_install(core jobcore jobcore
                DESCRIPTION "${PROJECT_DESCRIPTION}")
jobcore_install(testing jobcore-testing jobcore_testing
                DESCRIPTION "${PROJECT_DESCRIPTION}, with a hook at every lock-free step"
                CFLAGS " -DJOBCORE_INSTRUMENTED=1")
jobcore_install(tsan jobcore-tsan jobcore_tsan
                DESCRIPTION "${PROJECT_DESCRIPTION}, for programs under ThreadSanitizer"
                CFLAGS " -fsanitize=thread" LIBS " -fsanitize=thread")

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/jobcore COMPONENT core
        FILES_MATCHING PATTERN "*.h")
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/jobcoreConfig.cmake.in jobcoreConfig.cmake
                              INSTALL_DESTINATION ${package_dir}
                              NO_SET_AND_CHECK_MACRO)
# 0.x: any minor version may break.
write_basic_package_version_file(jobcoreConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/jobcoreConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/jobcoreConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT core)

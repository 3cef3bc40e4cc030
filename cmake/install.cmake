# SPDX-License-Identifier: Apache-2.0
# Headers go to <prefix>/include/jobcore with their include paths unchanged:
# #include "job-driver/job_driver.h".
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/jobcore)
get_property(install_targets GLOBAL PROPERTY JOBCORE_INSTALL_TARGETS)

install(TARGETS ${install_targets} EXPORT jobcoreTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/jobcore
        FILES_MATCHING PATTERN "*.h")
install(EXPORT jobcoreTargets NAMESPACE jobcore:: DESTINATION ${package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/jobcoreConfig.cmake.in jobcoreConfig.cmake
                              INSTALL_DESTINATION ${package_dir}
                              NO_SET_AND_CHECK_MACRO)
# 0.x: any minor version may break.
write_basic_package_version_file(jobcoreConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/jobcoreConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/jobcoreConfigVersion.cmake
        DESTINATION ${package_dir})

# Relocatable: the paths are relative to the .pc file.
file(RELATIVE_PATH JOBCORE_PC_PREFIX /usr/${CMAKE_INSTALL_LIBDIR}/pkgconfig /usr)
list(TRANSFORM JOBCORE_ABSL_LIBS PREPEND absl_ OUTPUT_VARIABLE JOBCORE_PC_REQUIRES)
if(JOBCORE_NEEDS_LIBURING)
  list(APPEND JOBCORE_PC_REQUIRES liburing)
endif()
list(JOIN JOBCORE_PC_REQUIRES " " JOBCORE_PC_REQUIRES)
configure_file(${CMAKE_CURRENT_LIST_DIR}/jobcore.pc.in jobcore.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/jobcore.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

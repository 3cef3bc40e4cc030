# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone, and twice in one file: one generated source per header.
# Not part of `all`; build the target jobcore_header_check.

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
     ${PROJECT_SOURCE_DIR}/include/*.h)
set(header_check_sources)
foreach(header IN LISTS headers)
  string(REPLACE "/" "__" name "${header}")
  file(CONFIGURE OUTPUT header_check/${name}.cc
       CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
  list(APPEND header_check_sources ${CMAKE_CURRENT_BINARY_DIR}/header_check/${name}.cc)
endforeach()
if(header_check_sources)
  add_library(jobcore_header_check OBJECT EXCLUDE_FROM_ALL ${header_check_sources})
  target_link_libraries(jobcore_header_check PRIVATE jobcore::jobcore)
  set_target_properties(jobcore_header_check PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
else()
  add_custom_target(jobcore_header_check)
endif()

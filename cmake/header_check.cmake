# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone, and twice in one file: one generated source per header.
# Not part of `all`; build the targets jobcore_headers and jobcore_headers_testing.

# jobcore_check_headers(<library> <name> <header>...): the headers as users of <library> see them.
function(jobcore_check_headers library name)
  set(sources)
  foreach(header IN LISTS ARGN)
    string(REPLACE "/" "__" file "${header}")
    file(CONFIGURE OUTPUT ${name}/${file}.cc CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
    list(APPEND sources ${CMAKE_CURRENT_BINARY_DIR}/${name}/${file}.cc)
  endforeach()
  add_library(jobcore_${name} OBJECT EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(jobcore_${name} PRIVATE ${library})
  set_target_properties(jobcore_${name} PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
endfunction()

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
     ${PROJECT_SOURCE_DIR}/include/*.h)
jobcore_check_headers(jobcore::testing headers_testing ${headers})
list(FILTER headers EXCLUDE REGEX "^job-testing/")
jobcore_check_headers(jobcore::jobcore headers ${headers})

# SPDX-License-Identifier: Apache-2.0
# io_uring, through liburing. Without it IoEngine::Uring says so, and IoEngine::Best is a thread pool.

set(JOBCORE_URING AUTO CACHE STRING "io_uring: ON, OFF, or AUTO (if liburing is found)")
set_property(CACHE JOBCORE_URING PROPERTY STRINGS AUTO ON OFF)

set(JOBCORE_HAVE_LIBURING OFF)
if(JOBCORE_URING)  # AUTO is true
  if(JOBCORE_URING STREQUAL "AUTO")
    find_package(PkgConfig QUIET)
  else()
    find_package(PkgConfig REQUIRED)
  endif()
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(JOBCORE_LIBURING QUIET IMPORTED_TARGET GLOBAL liburing>=2.2)
    set(JOBCORE_HAVE_LIBURING ${JOBCORE_LIBURING_FOUND})
  endif()
  if(NOT JOBCORE_HAVE_LIBURING AND NOT JOBCORE_URING STREQUAL "AUTO")
    message(FATAL_ERROR "JOBCORE_URING is ${JOBCORE_URING}, and liburing >= 2.2 was not found by pkg-config")
  endif()
endif()

# What links a static jobcore must link liburing too: the installed package looks for it.
set(JOBCORE_NEEDS_LIBURING OFF)
if(JOBCORE_HAVE_LIBURING AND NOT BUILD_SHARED_LIBS)
  set(JOBCORE_NEEDS_LIBURING ON)
endif()

function(jobcore_link_liburing target)
  if(JOBCORE_HAVE_LIBURING)
    target_link_libraries(${target} PRIVATE PkgConfig::JOBCORE_LIBURING)
    target_compile_definitions(${target} PRIVATE JOBCORE_HAVE_LIBURING=1)
  endif()
endfunction()

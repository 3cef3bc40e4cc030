# SPDX-License-Identifier: Apache-2.0
# What the presets turn on for work on jobcore itself. All of it is directory-scoped or PRIVATE:
# none of it reaches a program that uses the library.

option(JOBCORE_WERROR "Our warnings, as errors" OFF)
option(JOBCORE_THREAD_SAFETY "clang: check the lock annotations, as errors" OFF)
set(JOBCORE_SANITIZE "" CACHE STRING "thread | address,undefined | (empty)")

option(JOBCORE_FUZZER "clang: build the fuzzer" OFF)

if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(JOBCORE_CCACHE ccache)
  if(JOBCORE_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    # Without this it does not keep what uses a precompiled header.
    set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${JOBCORE_CCACHE})
  endif()
endif()

if(JOBCORE_WERROR)
  add_compile_options(-Wall -Wextra -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC bug 105651: where it inlines enough, `"literal" + std::string` is said to overlap itself
    # at offset -4611686018427387902. Fixed in GCC 13.
    add_compile_options(-Wno-restrict)
  endif()
endif()

if(JOBCORE_SANITIZE)
  add_compile_options(-fsanitize=${JOBCORE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${JOBCORE_SANITIZE})
  if(JOBCORE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=all)
  endif()
endif()

if(JOBCORE_FUZZER)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

if(JOBCORE_THREAD_SAFETY)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "JOBCORE_THREAD_SAFETY needs clang")
  endif()
  add_compile_options(-Wthread-safety -Werror=thread-safety)
endif()

# The library's own sources must also say which lock they must *not* hold.
function(jobcore_strict_thread_safety target)
  if(JOBCORE_THREAD_SAFETY)
    target_compile_options(${target} PRIVATE -Wthread-safety-negative
                                             -Werror=thread-safety-negative)
    target_compile_definitions(${target} PRIVATE JOBCORE_THREAD_SAFETY_NEGATIVE=1)
  endif()
endfunction()

# For what is mostly built as a whole: a few large files take half the time that many small ones do, for compilers and for
# clang-tidy. Not those of `aio`: their anonymous names are the same here and there.
option(JOBCORE_BATCHES "Compile most sources a few at a time" ON)
function(jobcore_build_in_batches target)
  if(NOT JOBCORE_BATCHES OR NOT PROJECT_IS_TOP_LEVEL)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "src/aio/")
  set_source_files_properties(${sources} TARGET_DIRECTORY ${target} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)  # nothing but the main file may have such names
  endif()
endfunction()

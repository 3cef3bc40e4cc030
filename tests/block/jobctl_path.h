// SPDX-License-Identifier: Apache-2.0
//
// The program under test: $JOBCTL_PATH, or the one of this build; empty: there is none.

#ifndef JOBCORE_TESTS_BLOCK_JOBCTL_PATH_H_
#define JOBCORE_TESTS_BLOCK_JOBCTL_PATH_H_

#include <stdlib.h>

#include <string>

namespace jobcore_test {

inline std::string JobctlPath() {
  if (const char* path = getenv("JOBCTL_PATH")) return path;
#ifdef JOBCTL_PATH
  return JOBCTL_PATH;
#else
  return "";
#endif
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_JOBCTL_PATH_H_

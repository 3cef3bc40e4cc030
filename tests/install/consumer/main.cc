// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "job-common/job_core.h"

int main() {
  jobcore::JobCore core;
  std::puts("a program outside the tree made a JobCore");
}

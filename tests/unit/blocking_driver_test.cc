// SPDX-License-Identifier: Apache-2.0
#include "job-driver/blocking_driver.h"

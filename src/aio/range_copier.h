// SPDX-License-Identifier: Apache-2.0
//
// RangeCopier: how a thread copies a range of one file to another.

#ifndef JOBCORE_AIO_RANGE_COPIER_H_
#define JOBCORE_AIO_RANGE_COPIER_H_

#include <cstddef>
#include <memory>

#include "job-common/io_engine.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// One thread's. Blocks.
class RangeCopier {
 public:
  // By copy_file_range where a file system does it by itself, shares blocks, or asks a server to. Where the kernel
  // would only move page after page, through a buffer: see the source.
  IoResult Copy(const IoRequest& request);
  // Always through a buffer: the files share nothing afterwards.
  IoResult CopyData(const IoRequest& request) { return CopyThroughBuffer(request, 0); }

 private:
  static constexpr size_t kBufferBytes = size_t{256} * 1024;  // less than what processors cache for each core

  IoResult CopyThroughBuffer(const IoRequest& request, size_t done);

  std::unique_ptr<std::byte[]> buffer_;  // made at first use
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_RANGE_COPIER_H_

// SPDX-License-Identifier: Apache-2.0
//
// A null node: holds nothing, forgets everything. For benchmarks, and to copy to nowhere.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_NULL_NODE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_NULL_NODE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-driver/block/node.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct NullOptions {
  Node::Options node = {};
  uint64_t size = uint64_t{1} << 30;  // bytes
  Nanoseconds latency{};              // of each request
  bool read_zeroes = false;           // fills buffers with zeros; otherwise leaves them alone
};

absl::StatusOr<std::shared_ptr<Node>> MakeNullNode(JobCore& core, NullOptions options);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_NULL_NODE_H_

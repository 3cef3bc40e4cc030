// SPDX-License-Identifier: Apache-2.0
//
// A raw node: a window of another node.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_RAW_NODE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_RAW_NODE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-driver/block/node.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct RawOptions {
  Node::Options node = {};
  std::shared_ptr<Node> file = nullptr;         // what it is a window of
  uint64_t offset = 0;                          // bytes; where it begins there
  std::optional<uint64_t> size = std::nullopt;  // bytes; none: to the end of `file`
};

// It can be resized if it has no size of its own; then so is `file`. Nobody else writes to that part of `file`: what
// jobs on this node copy does not change behind their backs. Several windows of one `file` must not overlap, unless all
// of them are read-only.
//   InvalidArgument     the window is not within `file`
//   FailedPrecondition  somebody who uses `file` does not get along with that
absl::StatusOr<std::shared_ptr<Node>> MakeRawNode(JobCore& core, RawOptions options);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_RAW_NODE_H_

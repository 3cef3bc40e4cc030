// SPDX-License-Identifier: Apache-2.0
//
// A fault node: passes requests on to another node, and lets some of them fail, or take their time. Called "blkdebug"
// where people configure it; the rules are those of that one's inject-error.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_FAULT_NODE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_FAULT_NODE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-driver/block/node.h"

namespace jobcore::inline JOBCORE_ABI::block {

// The first rule that a request meets decides.
struct FaultRule {
  // kAny: all but kBlockStatus.
  enum class Operation : unsigned char { kAny, kRead, kWrite, kWriteZeroes, kDiscard, kFlush, kBlockStatus };
  Operation operation = Operation::kAny;
  int error = 5;                                  // errno, EIO by default; 0: only the delay
  std::optional<uint64_t> sector = std::nullopt;  // of 512 bytes, which the request touches; none: any
  bool once = false;                              // then the rule is used up
  Nanoseconds delay{};                            // before it fails, or goes on
};

struct FaultOptions {
  Node::Options node = {};
  std::shared_ptr<Node> image = nullptr;
  std::vector<FaultRule> rules = {};
};

class FaultNode : public Node {
 public:
  // In place of those that there are. Any thread; requests that have begun are not affected.
  virtual void SetRules(std::vector<FaultRule> rules) = 0;

 protected:
  using Node::Node;
};

// Nobody else writes to `image`. FailedPrecondition: somebody who uses it does not get along with that.
absl::StatusOr<std::shared_ptr<FaultNode>> MakeFaultNode(JobCore& core, FaultOptions options);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_FAULT_NODE_H_

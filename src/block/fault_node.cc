// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/fault_node.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/delay.h"
#include "job-driver/block/node_edge.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

using Operation = FaultRule::Operation;

Operation OperationOf(NodeWrite::Kind kind) {
  switch (kind) {
    case NodeWrite::Kind::kZeroes:
      return Operation::kWriteZeroes;
    case NodeWrite::Kind::kDiscard:
      return Operation::kDiscard;
    case NodeWrite::Kind::kData:
      break;
  }
  return Operation::kWrite;
}

class FaultNodeImpl final : public FaultNode {
 public:
  FaultNodeImpl(JobCore& core, FaultOptions options, std::unique_ptr<NodeEdge> image)
      : FaultNode(core, std::move(options.node), options.image->size()),
        image_(std::move(image)),
        rules_(std::move(options.rules)) {}

  const char* driver() const override { return "blkdebug"; }
  absl::Status CheckIntact() const override { return image_->node()->CheckIntact(); }

  void SetRules(std::vector<FaultRule> rules) override {
    const std::lock_guard lock(mutex_);
    rules_.swap(rules);
  }

 protected:
  Co<int> DoRead(const Admission& in, uint64_t offset, std::span<std::byte> buffer) override
      JOBCORE_EXCLUDES(job_mutex) {
    if (const int error = co_await Meet(Operation::kRead, offset, buffer.size()); error != 0) co_return error;
    co_return co_await image_->Read(offset, buffer, &in);
  }
  Co<int> DoWrite(const Admission& in, NodeWrite write) override JOBCORE_EXCLUDES(job_mutex) {
    const int error = co_await Meet(OperationOf(write.kind), write.offset, write.length);
    if (error != 0) co_return error;
    co_return co_await image_->Change(write, &in);
  }
  Co<int> DoFlush(const Admission& in) override JOBCORE_EXCLUDES(job_mutex) {
    if (const int error = co_await Meet(Operation::kFlush, 0, 0); error != 0) co_return error;
    co_return co_await image_->Flush(&in);
  }
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission& in, uint64_t offset, uint64_t length) override
      JOBCORE_EXCLUDES(job_mutex) {
    if (const int error = co_await Meet(Operation::kBlockStatus, offset, length); error != 0) {
      co_return absl::ErrnoToStatus(error, absl::StrCat("block status of node '", name(), "'"));
    }
    co_return co_await image_->Status(offset, length, &in);
  }
  Co<absl::Status> DoResize(const Admission& in, uint64_t size) override JOBCORE_EXCLUDES(job_mutex) {
    return image_->Resize(size, &in);
  }
  const NodeEdge* below() const override { return image_.get(); }

 private:
  // What the first rule for such a request says: an errno, or 0. A flush touches no sector.
  Co<int> Meet(Operation operation, uint64_t offset, uint64_t length) {
    constexpr uint64_t kSector = 512;
    Nanoseconds delay{};
    int error = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto rule = std::find_if(rules_.begin(), rules_.end(), [&](const FaultRule& r) {
        const bool meant =
            r.operation == Operation::kAny ? operation != Operation::kBlockStatus : operation == r.operation;
        if (!meant) return false;
        return !r.sector.has_value() ||
               (length != 0 && *r.sector >= offset / kSector && *r.sector <= (offset + length - 1) / kSector);
      });
      if (rule == rules_.end()) co_return 0;
      delay = rule->delay;
      error = rule->error;
      if (rule->once) rules_.erase(rule);
    }
    co_await Delay(delay);
    co_return error;
  }

  const std::unique_ptr<NodeEdge> image_;
  internal::Mutex mutex_;  // a leaf
  std::vector<FaultRule> rules_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<FaultNode>> MakeFaultNode(JobCore& core, FaultOptions options) {
  const std::string& name = options.node.name;
  if (options.image == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("Node '", name, "' was given no node to stand upon"));
  }
  EdgeOptions use = {.user = absl::StrCat("node '", name, "'"), .writes = !options.node.read_only, .lets_write = false};
  absl::StatusOr<std::unique_ptr<NodeEdge>> image = NodeEdge::Attach(options.image, std::move(use));
  if (!image.ok()) return image.status();
  return std::make_shared<FaultNodeImpl>(core, std::move(options), *std::move(image));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

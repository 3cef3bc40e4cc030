// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/null_node.h"

#include <algorithm>
#include <utility>

#include "block/delay.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

class NullNode final : public Node {
 public:
  NullNode(JobCore& core, NullOptions options)
      : Node(core, std::move(options.node), options.size),
        latency_(options.latency),
        read_zeroes_(options.read_zeroes) {}

  const char* driver() const override { return "null-co"; }

 protected:
  Co<int> DoRead(const Admission&, uint64_t, std::span<std::byte> buffer) override JOBCORE_EXCLUDES(job_mutex) {
    if (read_zeroes_) std::fill(buffer.begin(), buffer.end(), std::byte{0});
    return Done();
  }
  Co<int> DoWrite(const Admission&, NodeWrite) override JOBCORE_EXCLUDES(job_mutex) { return Done(); }
  Co<int> DoFlush(const Admission&) override JOBCORE_EXCLUDES(job_mutex) { return Done(); }
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission&, uint64_t, uint64_t length) override
      JOBCORE_EXCLUDES(job_mutex) {
    co_return BlockStatus{.length = length, .zero = read_zeroes_, .stored = false};
  }

 private:
  Co<int> Done() {
    if (latency_ == Nanoseconds::zero()) return Co<int>();  // finished, with 0
    return Later();
  }
  Co<int> Later() {
    co_await Delay(latency_);
    co_return 0;
  }

  const Nanoseconds latency_;
  const bool read_zeroes_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Node>> MakeNullNode(JobCore& core, NullOptions options) {
  return std::make_shared<NullNode>(core, std::move(options));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

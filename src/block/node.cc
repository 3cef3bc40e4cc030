// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/node.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/job_core.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-driver/block/write_filter.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

Co<int> Failed(int error) { co_return error; }

}  // namespace

// The filters from `next_` on, and then the node.
class Node::Chain final : public WriteFilter::Below {
 public:
  Chain(Node& node, const Filters& filters, size_t next) : node_(node), filters_(filters), next_(next) {}

  Co<int> Write(const Admission& in, NodeWrite write) override JOBCORE_EXCLUDES(job_mutex) {
    return next_ < filters_.size() ? Pass(in, write) : node_.DoWrite(in, write);
  }

 private:
  Co<int> Pass(const Admission& in, NodeWrite write) JOBCORE_EXCLUDES(job_mutex) {
    Chain below(node_, filters_, next_ + 1);
    co_return co_await filters_[next_]->Write(in, write, below);
  }

  Node& node_;
  const Filters& filters_;
  const size_t next_;
};

Node::Node(JobCore& core, Options options, uint64_t size)
    : read_only_(options.read_only),
      size_(size),
      resource_(core, std::move(options.name)),
      bitmaps_(std::make_unique<NodeBitmaps>(*this)),
      context_(options.context != nullptr ? std::move(options.context) : core.main_context().shared_from_this()) {}

Node::~Node() {
  if (!edges_.empty()) internal::Die(absl::StrCat("node '", name(), "' destroyed while somebody uses it"));
}

std::shared_ptr<AioContext> Node::context() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

std::shared_ptr<const Node::Filters> Node::filters() const {
  const std::lock_guard lock(mutex_);
  return filters_;
}

void Node::CheckAdmission(const Admission& in) const {
  if (in.resource() != &resource_) internal::Die(absl::StrCat("node '", name(), "': a request without an admission"));
}

bool Node::Contains(uint64_t offset, uint64_t length) const {
  const uint64_t end = size();
  return offset <= end && length <= end - offset;
}

// None of these is a coroutine itself: a request has the frames of its driver only.

Co<int> Node::Read(const Admission& in, uint64_t offset, std::span<std::byte> buffer) {
  CheckAdmission(in);
  if (!Contains(offset, buffer.size())) return Failed(EINVAL);
  return DoRead(in, offset, buffer);
}

Co<int> Node::Change(const Admission& in, NodeWrite write) {
  CheckAdmission(in);
  if (write.kind == NodeWrite::Kind::kData && write.data.size() != write.length) {
    internal::Die(
        absl::StrCat("node '", name(), "': data of ", write.data.size(), " bytes to be written as ", write.length));
  }
  if (read_only_) return Failed(EROFS);
  if (!Contains(write.offset, write.length)) return Failed(EINVAL);
  // Set while nothing was in flight here: whoever has been admitted since sees it.
  if (filtered_.load(std::memory_order_acquire)) return ChangeFiltered(in, write);
  return DoWrite(in, write);
}

Co<int> Node::ChangeFiltered(const Admission& in, NodeWrite write) {
  const std::shared_ptr<const Filters> filters = this->filters();
  if (filters == nullptr) co_return co_await DoWrite(in, write);
  Chain all(*this, *filters, 0);
  co_return co_await all.Write(in, write);
}

Co<int> Node::CopyFrom(const Admission& in, uint64_t offset, uint64_t length, Node& from, const Admission& from_in,
                       uint64_t from_offset) {
  CheckAdmission(in);
  if (read_only_) return Failed(EROFS);
  if (!Contains(offset, length)) return Failed(EINVAL);
  if (filtered_.load(std::memory_order_acquire)) return Failed(EOPNOTSUPP);  // filters are to see the data
  return DoCopyFrom(in, offset, length, from, from_in, from_offset);
}

Co<int> Node::CopyTo(const Admission& in, uint64_t offset, uint64_t length, FilePart to) {
  CheckAdmission(in);
  if (!Contains(offset, length)) return Failed(EINVAL);
  return DoCopyTo(in, offset, length, to);
}

Co<int> Node::DoCopyFrom(const Admission&, uint64_t, uint64_t, Node&, const Admission&, uint64_t) {
  return Failed(EOPNOTSUPP);
}

Co<int> Node::DoCopyTo(const Admission&, uint64_t, uint64_t, FilePart) { return Failed(EOPNOTSUPP); }

Co<int> Node::Flush(const Admission& in) {
  CheckAdmission(in);
  return DoFlush(in);
}

Co<absl::StatusOr<BlockStatus>> Node::Status(const Admission& in, uint64_t offset, uint64_t length) {
  CheckAdmission(in);
  if (length == 0 || !Contains(offset, length)) return NoStatus(offset, length);
  return DoStatus(in, offset, length);
}

Co<absl::StatusOr<BlockStatus>> Node::NoStatus(uint64_t offset, uint64_t length) {
  co_return absl::InvalidArgumentError(
      absl::StrCat("node '", name(), "': the status of ", length, " bytes at ", offset, " of ", size()));
}

Co<absl::StatusOr<BlockStatus>> Node::DoStatus(const Admission&, uint64_t, uint64_t length) {
  co_return BlockStatus{.length = length};
}

Co<absl::Status> Node::DoResize(const Admission&, uint64_t size) {
  if (size == this->size()) co_return absl::OkStatus();
  co_return absl::InvalidArgumentError(absl::StrCat("Node '", name(), "' of driver '", driver(),
                                                    "' cannot be resized; it has ", this->size(), " bytes"));
}

void Node::AddFilter(const DrainedSection& section, std::shared_ptr<WriteFilter> filter) {
  if (!section.covers(resource_))
    internal::Die(absl::StrCat("node '", name(), "' gets a filter without being drained"));
  const std::lock_guard lock(mutex_);
  auto filters = std::make_shared<Filters>();
  filters->push_back(std::move(filter));
  if (filters_ != nullptr) filters->insert(filters->end(), filters_->begin(), filters_->end());
  filters_ = std::move(filters);
  filtered_.store(true, std::memory_order_release);
}

void Node::RemoveFilter(const WriteFilter& filter) {
  std::shared_ptr<const Filters> old;  // destroyed after the mutex: a filter is foreign code
  const std::lock_guard lock(mutex_);
  if (filters_ == nullptr) return;
  auto filters = std::make_shared<Filters>(*filters_);
  std::erase_if(*filters, [&](const std::shared_ptr<WriteFilter>& f) { return f.get() == &filter; });
  old = std::move(filters_);
  if (!filters->empty()) filters_ = std::move(filters);
  if (filters_ == nullptr) filtered_.store(false, std::memory_order_release);
}

}  // namespace jobcore::inline JOBCORE_ABI::block

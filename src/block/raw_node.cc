// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/raw_node.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-driver/block/node_edge.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

class RawNode final : public Node {
 public:
  RawNode(JobCore& core, RawOptions options, uint64_t size, std::unique_ptr<NodeEdge> file)
      : Node(core, std::move(options.node), size),
        offset_(options.offset),
        has_own_size_(options.size.has_value()),
        file_(std::move(file)) {}

  const char* driver() const override { return "raw"; }
  absl::Status CheckIntact() const override { return file_->node()->CheckIntact(); }

 protected:
  Co<int> DoRead(const Admission& in, uint64_t offset, std::span<std::byte> buffer) override
      JOBCORE_EXCLUDES(job_mutex) {
    return file_->Read(offset_ + offset, buffer, &in);
  }
  Co<int> DoWrite(const Admission& in, NodeWrite write) override JOBCORE_EXCLUDES(job_mutex) {
    write.offset += offset_;
    return file_->Change(write, &in);
  }
  Co<int> DoFlush(const Admission& in) override JOBCORE_EXCLUDES(job_mutex) { return file_->Flush(&in); }
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission& in, uint64_t offset, uint64_t length) override
      JOBCORE_EXCLUDES(job_mutex) {
    return file_->Status(offset_ + offset, length, &in);
  }
  Co<absl::Status> DoResize(const Admission& in, uint64_t size) override JOBCORE_EXCLUDES(job_mutex) {
    if (has_own_size_) {  // and says nothing about that of the file
      if (size == this->size()) co_return absl::OkStatus();
      co_return absl::InvalidArgumentError(
          absl::StrCat("Node '", name(), "' has a size of its own, ", this->size(), " bytes, and keeps it"));
    }
    if (size > std::numeric_limits<uint64_t>::max() - offset_) {
      co_return absl::InvalidArgumentError(absl::StrCat("Node '", name(), "' cannot have ", size, " bytes"));
    }
    co_return co_await file_->Resize(offset_ + size, &in);
  }
  const NodeEdge* below() const override { return file_.get(); }

 private:
  const uint64_t offset_;
  const bool has_own_size_;
  const std::unique_ptr<NodeEdge> file_;
};

uint64_t SaturatingEnd(uint64_t offset, uint64_t size) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  return size <= kMost - offset ? offset + size : kMost;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Node>> MakeRawNode(JobCore& core, RawOptions options) {
  const std::string& name = options.node.name;
  if (options.file == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("Node '", name, "' was given no node to stand upon"));
  }
  // First: nobody who resizes `file` gets along with this edge.
  EdgeOptions use = {.user = absl::StrCat("node '", name, "'"), .writes = !options.node.read_only, .lets_write = false};
  use.part_offset = options.offset;
  if (options.size.has_value()) use.part_end = SaturatingEnd(options.offset, *options.size);
  absl::StatusOr<std::unique_ptr<NodeEdge>> file = NodeEdge::Attach(options.file, std::move(use));
  if (!file.ok()) return file.status();
  const uint64_t room = options.file->size();
  if (options.offset > room) {
    return absl::InvalidArgumentError(absl::StrCat("Node '", name, "' begins at ", options.offset, ", but node '",
                                                   options.file->name(), "' has ", room, " bytes"));
  }
  const uint64_t size = options.size.value_or(room - options.offset);
  if (size > room - options.offset) {
    return absl::InvalidArgumentError(absl::StrCat("Node '", name, "' of ", size, " bytes at ", options.offset,
                                                   " goes beyond the ", room, " bytes of node '", options.file->name(),
                                                   "'"));
  }
  return std::make_shared<RawNode>(core, std::move(options), size, *std::move(file));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

// SPDX-License-Identifier: Apache-2.0

#include "nbd/export.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "nbd/connection.h"
#include "nbd/wire.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

Export::Export(const ExportOptions& options)
    : id_(options.id),
      name_(options.name.empty() ? options.node->name() : options.name),
      description_(options.description),
      writable_(options.writable),
      fixed_home_(options.context) {}

Export::~Export() {
  if (home_ != nullptr) internal::Die(absl::StrCat("NBD export '", id_, "' destroyed while it is in use"));
}

absl::StatusOr<std::shared_ptr<Export>> Export::Create(ExportOptions options) {
  if (options.node == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("Export '", options.id, "' was given no node"));
  }
  auto made = std::make_shared<Export>(options);
  if (made->name_.size() > wire::kMaxString || made->description_.size() > wire::kMaxString) {
    return absl::InvalidArgumentError(
        absl::StrCat("Export '", options.id, "': name and description have at most ", wire::kMaxString, " bytes each"));
  }
  block::EdgeOptions use = {.user = absl::StrCat("export '", options.id, "'"), .writes = options.writable};
  if (options.context == nullptr) {
    use.on_moved = [weak = std::weak_ptr<Export>(made)] {
      if (const std::shared_ptr<Export> self = weak.lock()) self->OnMoved();
    };
  }
  absl::StatusOr<std::unique_ptr<block::NodeEdge>> edge =
      block::NodeEdge::Attach(std::move(options.node), std::move(use));
  if (!edge.ok()) return edge.status();
  const std::lock_guard lock(made->mutex_);
  // From here on, changes are seen by OnMoved, which waits for the mutex.
  std::shared_ptr<AioContext> home = made->fixed_home_ != nullptr ? made->fixed_home_ : (*edge)->node()->context();
  if (!home->TryAddUser()) {
    return absl::FailedPreconditionError(
        absl::StrCat("Export '", made->id_, "' cannot live in '", home->name(), "', which has been stopped"));
  }
  made->edge_ = *std::move(edge);
  made->home_ = std::move(home);
  return made;
}

ExportFacts Export::FactsLocked() const {
  return {.name = name_, .description = description_, .size = edge_->node()->size(), .writable = writable_};
}

std::optional<ExportFacts> Export::Facts() const {
  const std::lock_guard lock(mutex_);
  return removed_ ? std::nullopt : std::optional(FactsLocked());
}

ExportInfo Export::info() const {
  const std::lock_guard lock(mutex_);
  ExportInfo info;
  info.id = id_;
  info.name = name_;
  info.writable = writable_;
  info.removing = removed_;
  info.connections = static_cast<int>(joined_.size());
  if (edge_ != nullptr) {
    const std::shared_ptr<block::Node> node = edge_->node();
    info.node = node->name();
    info.size = node->size();
  }
  return info;
}

std::optional<ExportFacts> Export::Join(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard lock(mutex_);
  if (removed_) return std::nullopt;
  joined_.push_back(connection);
  return FactsLocked();
}

bool Export::Leave(const Connection& connection) {
  const std::lock_guard lock(mutex_);
  std::erase_if(joined_, [&](const std::shared_ptr<Connection>& c) { return c.get() == &connection; });
  return removed_ && joined_.empty();
}

absl::StatusOr<bool> Export::Remove(RemoveMode mode) {
  std::vector<std::shared_ptr<Connection>> joined;
  {
    const std::lock_guard lock(mutex_);
    if (mode == RemoveMode::kSafe && !removed_ && !joined_.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("Export '", id_, "' is in use by ", joined_.size(),
                                                        joined_.size() == 1 ? " client" : " clients",
                                                        "; a hard removal disconnects them"));
    }
    if (std::exchange(removed_, true) && mode == RemoveMode::kSafe) return false;  // on its way already
    joined = joined_;
  }
  for (const std::shared_ptr<Connection>& connection : joined) connection->Close();
  return joined.empty();
}

void Export::Finish() {
  std::unique_ptr<block::NodeEdge> edge;  // goes after the mutex, and perhaps the node with it
  std::shared_ptr<AioContext> home;
  {
    const std::lock_guard lock(mutex_);
    edge = std::move(edge_);
    home = std::move(home_);
  }
  edge.reset();
  if (home != nullptr) home->RemoveUser();
}

std::shared_ptr<AioContext> Export::home() const {
  const std::lock_guard lock(mutex_);
  return home_;
}

void Export::OnMoved() {
  std::vector<std::shared_ptr<Connection>> joined;
  {
    const std::lock_guard lock(mutex_);
    if (edge_ == nullptr) return;
    std::shared_ptr<AioContext> home = edge_->node()->context();
    // One that has been stopped takes nobody: they stay, and the node serves them there.
    if (home == home_ || !home->TryAddUser()) return;
    std::exchange(home_, std::move(home))->RemoveUser();
    joined = joined_;
  }
  for (const std::shared_ptr<Connection>& connection : joined) connection->GoHome();
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd

// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/block_actions.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/graph_ops.h"
#include "block/node_move.h"
#include "job-driver/block/graph.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

using monitor::Action;
using monitor::ActionSite;
using monitor::PreparedAction;
using Prepared = absl::StatusOr<std::unique_ptr<PreparedAction>>;
using Resources = std::vector<std::shared_ptr<Resource>>;

void AddNode(const std::shared_ptr<Node>& node, Resources& resources) {
  if (node != nullptr) resources.emplace_back(node, &node->resource());
}

// --- Jobs ---

class PreparedJob final : public PreparedAction {
 public:
  explicit PreparedJob(JobRef job) : job_(std::move(job)) {}

  // Refused if somebody else has cancelled it meanwhile: then it has been started and cancelled, as far as anybody can
  // tell.
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) { (void)StartJob(*job_); }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    aborted_ = true;
    JobLock lock(job_->core());
    (void)monitor::Cancel(*job_);  // refused if it is being wound up already, with its group
  }
  Co<void> Clean(TimePoint deadline) override JOBCORE_EXCLUDES(job_mutex) {
    if (aborted_) (void)co_await monitor::AwaitJob(job_, deadline);
  }

 private:
  const JobRef job_;
  bool aborted_ = false;
};

template <typename Options>
class StartJobAction final : public Action {
 public:
  using Create = absl::StatusOr<JobRef> (*)(JobCore&, JobSpec, const Options&, const DrainedSection&);

  StartJobAction(const char* type, Create create, JobSpec spec, Options options)
      : type_(type), create_(create), spec_(std::move(spec)), options_(std::move(options)) {}

  std::string_view type() const override { return type_; }
  void AddResources(Resources& resources) const override { AddNode(options_.source, resources); }
  Co<Prepared> Prepare(const ActionSite& site) override JOBCORE_EXCLUDES(job_mutex) {
    JobSpec spec = spec_;
    if (site.group() != nullptr) spec.group = site.group();
    const absl::StatusOr<JobRef> job = create_(site.core(), std::move(spec), options_, site.section());
    if (!job.ok()) co_return job.status();
    co_return std::make_unique<PreparedJob>(*job);
  }

 private:
  const char* const type_;
  const Create create_;
  const JobSpec spec_;
  const Options options_;
};

// --- Bitmaps ---

absl::Status NoNode() { return absl::InvalidArgumentError("an action on bitmaps was given no node"); }

BitmapUser UserOf(const ActionSite& site) {
  return {.name = absl::StrCat("transaction '", site.transaction(), "'"), .id = &site};
}

// Its node, which outlives the claim.
struct ClaimedBitmap {
  std::shared_ptr<Node> node;
  BitmapClaim claim;
};

absl::StatusOr<ClaimedBitmap> Claim(const BitmapOfNode& bitmap, const ActionSite& site) {
  if (bitmap.node == nullptr) return NoNode();
  absl::StatusOr<BitmapClaim> claim = bitmap.node->bitmaps().Claim(bitmap.name, UserOf(site));
  if (!claim.ok()) return claim.status();
  return ClaimedBitmap{.node = bitmap.node, .claim = *std::move(claim)};
}

class AddedBitmap final : public PreparedAction {
 public:
  explicit AddedBitmap(ClaimedBitmap bitmap) : bitmap_(std::move(bitmap)) {}
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) { bitmap_.claim.Release(); }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) { bitmap_.claim.Remove(); }

 private:
  ClaimedBitmap bitmap_;
};

class AddBitmap final : public Action {
 public:
  AddBitmap(std::shared_ptr<Node> node, BitmapOptions options) : node_(std::move(node)), options_(std::move(options)) {}

  std::string_view type() const override { return "block-dirty-bitmap-add"; }
  void AddResources(Resources& resources) const override { AddNode(node_, resources); }
  Co<Prepared> Prepare(const ActionSite& site) override JOBCORE_EXCLUDES(job_mutex) {
    if (node_ == nullptr) co_return NoNode();
    absl::StatusOr<BitmapClaim> claim = node_->bitmaps().Add(site.section(), options_, UserOf(site));
    if (!claim.ok()) co_return claim.status();
    ClaimedBitmap bitmap = {.node = node_, .claim = *std::move(claim)};
    co_return std::make_unique<AddedBitmap>(std::move(bitmap));
  }

 private:
  const std::shared_ptr<Node> node_;
  const BitmapOptions options_;
};

class RemovedBitmap final : public PreparedAction {
 public:
  explicit RemovedBitmap(ClaimedBitmap bitmap) : bitmap_(std::move(bitmap)) { bitmap_.claim.Hide(); }
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) { bitmap_.claim.Remove(); }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    bitmap_.claim.Hide(false);
    bitmap_.claim.Release();
  }

 private:
  ClaimedBitmap bitmap_;
};

// All that has no effect before the commit.
class ChangedBitmap final : public PreparedAction {
 public:
  using Change = void (*)(BitmapClaim&);
  ChangedBitmap(ClaimedBitmap bitmap, Change change) : bitmap_(std::move(bitmap)), change_(change) {}
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    change_(bitmap_.claim);
    bitmap_.claim.Release();
  }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) { bitmap_.claim.Release(); }

 private:
  ClaimedBitmap bitmap_;
  const Change change_;
};

class ChangeBitmap final : public Action {
 public:
  using MakePrepared = std::unique_ptr<PreparedAction> (*)(ClaimedBitmap);

  ChangeBitmap(const char* type, BitmapOfNode bitmap, MakePrepared make)
      : type_(type), bitmap_(std::move(bitmap)), make_(make) {}

  std::string_view type() const override { return type_; }
  void AddResources(Resources& resources) const override { AddNode(bitmap_.node, resources); }
  Co<Prepared> Prepare(const ActionSite& site) override JOBCORE_EXCLUDES(job_mutex) {
    absl::StatusOr<ClaimedBitmap> bitmap = Claim(bitmap_, site);
    if (!bitmap.ok()) co_return bitmap.status();
    co_return make_(*std::move(bitmap));
  }

 private:
  const char* const type_;
  const BitmapOfNode bitmap_;
  const MakePrepared make_;
};

class MergedBitmaps final : public PreparedAction {
 public:
  MergedBitmaps(ClaimedBitmap target, std::vector<ClaimedBitmap> sources)
      : target_(std::move(target)), sources_(std::move(sources)) {}
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    for (const ClaimedBitmap& source : sources_) target_.claim.Merge(source.claim);
    Abort();
  }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    target_.claim.Release();
    sources_.clear();
  }

 private:
  ClaimedBitmap target_;
  std::vector<ClaimedBitmap> sources_;
};

class MergeBitmaps final : public Action {
 public:
  MergeBitmaps(BitmapOfNode target, std::vector<BitmapOfNode> sources)
      : target_(std::move(target)), sources_(std::move(sources)) {}

  std::string_view type() const override { return "block-dirty-bitmap-merge"; }
  void AddResources(Resources& resources) const override {
    AddNode(target_.node, resources);
    for (const BitmapOfNode& source : sources_) AddNode(source.node, resources);
  }
  Co<Prepared> Prepare(const ActionSite& site) override JOBCORE_EXCLUDES(job_mutex) {
    absl::StatusOr<ClaimedBitmap> target = Claim(target_, site);
    if (!target.ok()) co_return target.status();
    std::vector<ClaimedBitmap> sources;
    sources.reserve(sources_.size());
    for (const BitmapOfNode& wanted : sources_) {
      absl::StatusOr<ClaimedBitmap> source = Claim(wanted, site);
      if (!source.ok()) co_return source.status();
      if (source->claim.size() != target->claim.size()) {
        co_return absl::InvalidArgumentError(absl::StrCat("Bitmaps '", wanted.name, "' of ", source->claim.size(),
                                                          " bytes and '", target_.name, "' of ", target->claim.size(),
                                                          " are of different sizes and can't be merged"));
      }
      sources.push_back(*std::move(source));
    }
    co_return std::make_unique<MergedBitmaps>(*std::move(target), std::move(sources));
  }

 private:
  const BitmapOfNode target_;
  const std::vector<BitmapOfNode> sources_;
};

template <auto kChange>
std::unique_ptr<Action> ChangeBitmapAction(const char* type, std::shared_ptr<Node> node, std::string name) {
  BitmapOfNode bitmap = {.node = std::move(node), .name = std::move(name)};
  return std::make_unique<ChangeBitmap>(
      type, std::move(bitmap), [](ClaimedBitmap claimed) -> std::unique_ptr<PreparedAction> {
        return std::make_unique<ChangedBitmap>(std::move(claimed), [](BitmapClaim& claim) { kChange(claim); });
      });
}

// --- Nodes ---

class PreparedSwitch final : public PreparedAction {
 public:
  // Which BeginSwitch has accepted.
  PreparedSwitch(std::shared_ptr<Node> from, std::shared_ptr<Node> to) : from_(std::move(from)), to_(std::move(to)) {}
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    SwitchUsers(*from_, to_);
    GraphOps::EndSwitch(*from_, *to_);
  }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) { GraphOps::EndSwitch(*from_, *to_); }

 private:
  const std::shared_ptr<Node> from_;
  const std::shared_ptr<Node> to_;
};

class SwitchNodes final : public Action {
 public:
  SwitchNodes(std::shared_ptr<Node> from, std::shared_ptr<Node> to) : from_(std::move(from)), to_(std::move(to)) {}

  std::string_view type() const override { return "switch-users"; }
  void AddResources(Resources& resources) const override {
    AddNode(from_, resources);
    AddNode(to_, resources);
  }
  Co<Prepared> Prepare(const ActionSite&) override JOBCORE_EXCLUDES(job_mutex) {
    if (from_ == nullptr || to_ == nullptr) {
      co_return absl::InvalidArgumentError("users can only be switched from one node to another");
    }
    if (absl::Status s = GraphOps::BeginSwitch(*from_, *to_); !s.ok()) co_return s;
    co_return std::make_unique<PreparedSwitch>(from_, to_);
  }

 private:
  const std::shared_ptr<Node> from_;
  const std::shared_ptr<Node> to_;
};

class PreparedMove final : public PreparedAction {
 public:
  explicit PreparedMove(std::unique_ptr<NodeMove> move) : move_(std::move(move)) {}
  void Commit() noexcept override JOBCORE_EXCLUDES(job_mutex) {
    move_->Commit();
    committed_ = true;
  }
  void Abort() noexcept override JOBCORE_EXCLUDES(job_mutex) { move_.reset(); }
  Co<void> Clean(TimePoint deadline) override JOBCORE_EXCLUDES(job_mutex) {
    if (committed_) (void)co_await move_->Arrived(deadline);
  }

 private:
  std::unique_ptr<NodeMove> move_;
  bool committed_ = false;
};

class MoveNodes final : public Action {
 public:
  MoveNodes(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context)
      : node_(std::move(node)), context_(std::move(context)) {}

  std::string_view type() const override { return "x-blockdev-set-iothread"; }
  void AddResources(Resources& resources) const override {
    if (node_ == nullptr) return;
    for (const std::shared_ptr<Node>& node : GraphOps::Tower(node_)) AddNode(node, resources);
  }
  Co<Prepared> Prepare(const ActionSite&) override JOBCORE_EXCLUDES(job_mutex) {
    if (node_ == nullptr || context_ == nullptr) {
      co_return absl::InvalidArgumentError("a move needs a node and a context");
    }
    auto move = std::make_unique<NodeMove>(node_, context_);
    if (absl::Status s = move->CheckContext(); !s.ok()) co_return s;
    if (absl::Status s = move->Claim(); !s.ok()) co_return s;
    co_return std::make_unique<PreparedMove>(std::move(move));
  }

 private:
  const std::shared_ptr<Node> node_;
  const std::shared_ptr<AioContext> context_;
};

}  // namespace

std::unique_ptr<Action> StartBackupAction(JobSpec spec, BackupOptions options) {
  constexpr StartJobAction<BackupOptions>::Create kCreate = &CreateBackup;
  return std::make_unique<StartJobAction<BackupOptions>>("blockdev-backup", kCreate, std::move(spec),
                                                         std::move(options));
}

std::unique_ptr<Action> StartMirrorAction(JobSpec spec, MirrorOptions options) {
  constexpr StartJobAction<MirrorOptions>::Create kCreate = &CreateMirror;
  return std::make_unique<StartJobAction<MirrorOptions>>("blockdev-mirror", kCreate, std::move(spec),
                                                         std::move(options));
}

std::unique_ptr<Action> AddBitmapAction(std::shared_ptr<Node> node, BitmapOptions options) {
  return std::make_unique<AddBitmap>(std::move(node), std::move(options));
}

std::unique_ptr<Action> RemoveBitmapAction(std::shared_ptr<Node> node, std::string name) {
  BitmapOfNode bitmap = {.node = std::move(node), .name = std::move(name)};
  return std::make_unique<ChangeBitmap>("block-dirty-bitmap-remove", std::move(bitmap),
                                        [](ClaimedBitmap claimed) -> std::unique_ptr<PreparedAction> {
                                          return std::make_unique<RemovedBitmap>(std::move(claimed));
                                        });
}

std::unique_ptr<Action> ClearBitmapAction(std::shared_ptr<Node> node, std::string name) {
  return ChangeBitmapAction<[](BitmapClaim& claim) { claim.Clear(); }>("block-dirty-bitmap-clear", std::move(node),
                                                                       std::move(name));
}

std::unique_ptr<Action> EnableBitmapAction(std::shared_ptr<Node> node, std::string name) {
  return ChangeBitmapAction<[](BitmapClaim& claim) { claim.SetRecording(true); }>("block-dirty-bitmap-enable",
                                                                                  std::move(node), std::move(name));
}

std::unique_ptr<Action> DisableBitmapAction(std::shared_ptr<Node> node, std::string name) {
  return ChangeBitmapAction<[](BitmapClaim& claim) { claim.SetRecording(false); }>("block-dirty-bitmap-disable",
                                                                                   std::move(node), std::move(name));
}

std::unique_ptr<Action> MergeBitmapsAction(BitmapOfNode target, std::vector<BitmapOfNode> sources) {
  return std::make_unique<MergeBitmaps>(std::move(target), std::move(sources));
}

std::unique_ptr<Action> SwitchUsersAction(std::shared_ptr<Node> from, std::shared_ptr<Node> to) {
  return std::make_unique<SwitchNodes>(std::move(from), std::move(to));
}

std::unique_ptr<Action> SetContextAction(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context) {
  return std::make_unique<MoveNodes>(std::move(node), std::move(context));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

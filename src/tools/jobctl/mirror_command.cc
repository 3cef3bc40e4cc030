// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/mirror_command.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-driver/block/file_node.h"
#include "job-driver/resource.h"
#include "tools/jobctl/clients.h"
#include "tools/jobctl/ledger.h"
#include "tools/jobctl/new_image.h"
#include "tools/jobctl/work.h"

namespace jobctl {
namespace {

using namespace jobcore;
using block::Node;
using internal::Quoted;

class MirrorWork final : public Work {
 public:
  explicit MirrorWork(const MirrorCommand& command) : command_(command) {}

  std::vector<absl::Status> Open(const Means& means) override JOBCORE_EXCLUDES(job_mutex);
  absl::StatusOr<JobRef> CreateJob(size_t index, JobSpec spec) override JOBCORE_EXCLUDES(job_mutex);
  void OnStarted() override;
  void OnEnded(size_t index, const JobOutcome& outcome, bool completed) override;
  std::vector<ClientReport> Finish() override JOBCORE_EXCLUDES(job_mutex);
  void Abandon() override;

 private:
  // From the bottom up: clients use nodes.
  struct Mirror {
    std::shared_ptr<Node> source;
    std::shared_ptr<Node> target;
    std::optional<NewImage> created;  // its file, unless that has been kept
    std::unique_ptr<Clients> clients;
    bool switched = false;  // its clients ought to be with the target
  };

  absl::StatusOr<std::shared_ptr<Node>> OpenNode(size_t index, const std::string& filename, bool read_only);
  absl::Status OpenSource(size_t index);
  // If there is one.
  absl::Status OpenTarget(size_t index);
  absl::Status CreateTarget(size_t index) JOBCORE_EXCLUDES(job_mutex);
  absl::Status CheckLedger() const;

  const MirrorCommand& command_;
  std::optional<Means> means_;
  std::vector<Mirror> mirrors_;
};

// Files are only made when nothing else is wrong.
std::vector<absl::Status> MirrorWork::Open(const Means& means) {
  means_.emplace(means);
  mirrors_.resize(means.pairs.size());
  std::vector<absl::Status> wrong;
  const auto note = [&wrong](absl::Status status) {
    if (!status.ok()) wrong.push_back(std::move(status));
    return wrong.empty();
  };
  note(CheckLedger());
  for (size_t i = 0; i < mirrors_.size(); ++i) {
    const absl::Status source = OpenSource(i);
    note(source.ok() ? OpenTarget(i) : source);
  }
  for (size_t i = 0; i < mirrors_.size() && wrong.empty(); ++i) {
    if (mirrors_[i].target == nullptr) note(CreateTarget(i));
  }
  for (size_t i = 0; i < mirrors_.size() && wrong.empty() && command_.session.writers > 0; ++i) {
    absl::StatusOr<std::unique_ptr<Clients>> clients =
        Clients::Create(means.core, {.node = mirrors_[i].source, .filename = means.pairs[i].source},
                        {.node = mirrors_[i].target, .filename = means.pairs[i].target}, command_.session.writers);
    if (note(clients.status())) mirrors_[i].clients = *std::move(clients);
  }
  if (!wrong.empty()) mirrors_.clear();  // and what has been made
  return wrong;
}

absl::StatusOr<std::shared_ptr<Node>> MirrorWork::OpenNode(size_t index, const std::string& filename, bool read_only) {
  return block::OpenFileNode(
      means_->core,
      {.node = {.name = filename, .context = means_->context(index).shared_from_this(), .read_only = read_only},
       .filename = filename,
       .engine = &means_->engine,
       .direct = command_.direct,
       .no_flush = !command_.sync});
}

absl::Status MirrorWork::OpenSource(size_t index) {
  absl::StatusOr<std::shared_ptr<Node>> node =
      OpenNode(index, means_->pairs[index].source, /*read_only=*/command_.session.writers == 0);
  if (!node.ok()) return node.status();
  mirrors_[index].source = *std::move(node);
  return absl::OkStatus();
}

absl::Status MirrorWork::OpenTarget(size_t index) {
  const auto& [id, source, target] = means_->pairs[index];
  struct stat file{};
  if (stat(target.c_str(), &file) != 0 && errno == ENOENT) return absl::OkStatus();
  std::error_code ignored;
  if (std::filesystem::equivalent(source, target, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(target), " is the same file as the source"));
  }
  if ((S_ISREG(file.st_mode) || S_ISBLK(file.st_mode)) && !command_.force) {
    return absl::AlreadyExistsError(absl::StrCat("target ", Quoted(target), " exists; --force overwrites its content"));
  }
  absl::StatusOr<std::shared_ptr<Node>> node = OpenNode(index, target, /*read_only=*/false);
  if (!node.ok()) return node.status();
  const uint64_t size = mirrors_[index].source->size();
  if ((*node)->size() != size) {
    return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(target), " has ", (*node)->size(),
                                                   " bytes, but its source ", Quoted(source), " has ", size,
                                                   "; a target that does not exist is made as large as its source"));
  }
  mirrors_[index].target = *std::move(node);
  return absl::OkStatus();
}

absl::Status MirrorWork::CreateTarget(size_t index) {
  Mirror& mirror = mirrors_[index];
  const auto& [id, source, target] = means_->pairs[index];
  struct stat file{};
  if (stat(source.c_str(), &file) != 0) return internal::FileError("cannot look at source", source, errno);
  // Whoever cannot read the source is not to read its copy.
  absl::StatusOr<NewImage> image =
      NewImage::Create(means_->core, means_->engine, target, mirror.source->size(), file.st_mode & 0777, command_.sync);
  if (!image.ok()) return image.status();
  mirror.created.emplace(*std::move(image));
  absl::StatusOr<std::shared_ptr<Node>> node = OpenNode(index, target, /*read_only=*/false);
  if (!node.ok()) return node.status();
  mirror.target = *std::move(node);
  return absl::OkStatus();
}

absl::Status MirrorWork::CheckLedger() const {
  if (command_.ledger.empty()) return absl::OkStatus();
  if (command_.session.writers == 0)
    return absl::InvalidArgumentError("--ledger is about writers: it needs --writers N");
  if (means_->pairs.size() > 1) {
    return absl::InvalidArgumentError("--ledger is about one image: it works with one pair of SRC and DST only");
  }
  if (std::filesystem::symlink_status(command_.ledger).type() != std::filesystem::file_type::not_found) {
    return absl::AlreadyExistsError(absl::StrCat("ledger ", Quoted(command_.ledger), " exists, and is not replaced"));
  }
  return absl::OkStatus();
}

absl::StatusOr<JobRef> MirrorWork::CreateJob(size_t index, JobSpec spec) {
  const Mirror& mirror = mirrors_[index];
  Resource* const source = &mirror.source->resource();
  const absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&source, 1}, {.name = spec.id});
  if (!section.ok()) return section.status();
  return block::CreateMirror(means_->core, std::move(spec),
                             {.source = mirror.source,
                              .target = mirror.target,
                              .copy_mode = command_.copy_mode,
                              .granularity = command_.granularity,
                              .in_flight = command_.session.in_flight,
                              .on_source_error = command_.on_error,
                              .on_target_error = command_.on_error},
                             *section);
}

void MirrorWork::OnStarted() {
  for (const Mirror& mirror : mirrors_) {
    if (mirror.clients != nullptr) mirror.clients->Start();
  }
}

void MirrorWork::OnEnded(size_t index, const JobOutcome& outcome, bool completed) {
  mirrors_[index].switched = outcome.succeeded() && completed;
  if (outcome.succeeded() && mirrors_[index].created) mirrors_[index].created->Keep();
}

std::vector<ClientReport> MirrorWork::Finish() {
  std::vector<ClientReport> reports;
  for (size_t i = 0; i < mirrors_.size(); ++i) {
    if (mirrors_[i].clients == nullptr) continue;
    Clients& clients = *mirrors_[i].clients;
    clients.Stop();
    ClientReport& report = reports.emplace_back(clients.Verify(means_->pairs[i].id));
    if (report.ok() && (report.on_target > 0) != mirrors_[i].switched) {
      report.wrong = absl::StrCat("the writers are with ", Quoted(report.image), ", where they do not belong");
    }
    if (command_.ledger.empty()) continue;
    const absl::Status written = WriteLedger(command_.ledger, clients.Acknowledged());
    if (!written.ok() && report.ok()) report.wrong = std::string(written.message());
  }
  return reports;
}

void MirrorWork::Abandon() {
  for (Mirror& mirror : mirrors_) {
    // After a switch-over, the clients' last writes are there only.
    const bool switched = mirror.clients != nullptr && mirror.clients->switched();
    if (mirror.created && !switched) mirror.created->Remove();
  }
}

}  // namespace

int RunMirror(const MirrorCommand& command) {
  return RunSession(command.session, std::make_unique<MirrorWork>(command));
}

}  // namespace jobctl

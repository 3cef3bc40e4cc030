// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/mirror_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
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
#include "block/target_file.h"
#include "job-common/coroutine.h"
#include "job-driver/block/file_node.h"
#include "job-driver/resource.h"
#include "tools/jobctl/clients.h"
#include "tools/jobctl/keys.h"
#include "tools/jobctl/ledger.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/terminal.h"
#include "tools/jobctl/work.h"

namespace jobctl {
namespace {

using namespace jobcore;
using block::Node;
using internal::FileError;
using internal::Quoted;
using internal::TargetFile;

// A file that gets its name when the copy in it is whole: nothing is acknowledged to those who are switched over that
// cannot be found by the name.
class NamedFile final : public block::MirrorPublisher {
 public:
  // `file` stays until the job has ended. `engine`: to make the name last; null: it need not.
  NamedFile(TargetFile& file, IoEngine* engine) : file_(file), engine_(engine) {}

  Co<absl::Status> Publish() override {
    // What has the name may have been replaced meanwhile.
    if (absl::Status s = file_.LockReplaced(); !s.ok()) co_return s;
    if (absl::Status s = file_.CheckPublishable(); !s.ok()) co_return s;
    if (absl::Status s = file_.PublishRevocably(); !s.ok()) co_return s;
    if (engine_ == nullptr) co_return absl::OkStatus();
    absl::Status synced = co_await file_.SyncDirectory(*engine_, "cannot sync the directory of target");
    if (!synced.ok()) file_.Revoke();
    co_return synced;
  }
  Co<void> Revoke() override {
    file_.Revoke();
    if (engine_ != nullptr) (void)co_await file_.SyncDirectory(*engine_, "cannot sync the directory of target");
  }

 private:
  TargetFile& file_;
  IoEngine* const engine_;
};

class MirrorWork final : public Work {
 public:
  explicit MirrorWork(const MirrorCommand& command) : command_(command) {}

  std::vector<absl::Status> Open(const Means& means) override JOBCORE_EXCLUDES(job_mutex);
  absl::StatusOr<JobRef> CreateJob(size_t index, JobSpec spec) override JOBCORE_EXCLUDES(job_mutex);
  void OnStarted() override;
  absl::Status OnEnded(size_t index, const JobOutcome& outcome, bool completed) override;
  std::vector<ClientReport> Finish() override JOBCORE_EXCLUDES(job_mutex);
  void Abandon() override;

 private:
  // From the bottom up: clients use nodes.
  struct Mirror {
    std::shared_ptr<Node> source;
    std::shared_ptr<Node> target;
    std::optional<TargetFile> file;  // the target's, hidden until the copy is whole; none: it is a device
    std::unique_ptr<Clients> clients;
    bool switched = false;  // its clients ought to be with the target
  };

  // `name`: what errors call it.
  absl::StatusOr<std::shared_ptr<Node>> OpenNode(size_t index, const std::string& name, const std::string& filename,
                                                 bool read_only);
  absl::Status OpenSource(size_t index);
  // A device; or sees to it that there can be such a file, and makes none.
  absl::Status OpenTarget(size_t index);
  absl::Status OpenDevice(size_t index);
  absl::Status CreateTarget(size_t index);
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
    if (mirrors_[i].file) note(CreateTarget(i));
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

absl::StatusOr<std::shared_ptr<Node>> MirrorWork::OpenNode(size_t index, const std::string& name,
                                                           const std::string& filename, bool read_only) {
  return block::OpenFileNode(
      means_->core,
      {.node = {.name = name, .context = means_->context(index).shared_from_this(), .read_only = read_only},
       .filename = filename,
       .engine = &means_->engine,
       .direct = command_.direct,
       .no_flush = !command_.sync});
}

absl::Status MirrorWork::OpenSource(size_t index) {
  const std::string& source = means_->pairs[index].source;
  absl::StatusOr<std::shared_ptr<Node>> node =
      OpenNode(index, source, source, /*read_only=*/command_.session.writers == 0);
  if (!node.ok()) return node.status();
  mirrors_[index].source = *std::move(node);
  return absl::OkStatus();
}

absl::Status MirrorWork::OpenTarget(size_t index) {
  const auto& [id, source, target] = means_->pairs[index];
  struct stat found{};
  if (stat(target.c_str(), &found) == 0 && S_ISBLK(found.st_mode)) return OpenDevice(index);
  struct stat from{};
  if (stat(source.c_str(), &from) != 0) return FileError("cannot look at source", source, errno);
  const uint64_t room = static_cast<uint64_t>(from.st_blocks) * 512;
  absl::StatusOr<TargetFile> file = TargetFile::Open(target, command_.force, room, &from);
  if (absl::IsAlreadyExists(file.status())) {
    return absl::AlreadyExistsError(absl::StrCat(file.status().message(), "; --force replaces it"));
  }
  if (!file.ok()) return file.status();
  if (absl::Status s = file->LockReplaced(); !s.ok()) return s;
  mirrors_[index].file.emplace(*std::move(file));
  return absl::OkStatus();
}

absl::Status MirrorWork::OpenDevice(size_t index) {
  const auto& [id, source, target] = means_->pairs[index];
  std::error_code ignored;
  if (std::filesystem::equivalent(source, target, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(target), " is the same device as the source"));
  }
  if (!command_.force) {
    return absl::AlreadyExistsError(
        absl::StrCat("target ", Quoted(target), " is a block device; --force overwrites its content"));
  }
  absl::StatusOr<std::shared_ptr<Node>> node = OpenNode(index, target, target, /*read_only=*/false);
  if (!node.ok()) return node.status();
  const uint64_t size = mirrors_[index].source->size();
  if ((*node)->size() != size) {
    return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(target), " has ", (*node)->size(),
                                                   " bytes, but its source ", Quoted(source), " has ", size));
  }
  mirrors_[index].target = *std::move(node);
  return absl::OkStatus();
}

absl::Status MirrorWork::CreateTarget(size_t index) {
  Mirror& mirror = mirrors_[index];
  const auto& [id, source, target] = means_->pairs[index];
  struct stat from{};
  if (stat(source.c_str(), &from) != 0) return FileError("cannot look at source", source, errno);
  // Whoever cannot read the source is not to read its copy.
  if (absl::Status s = mirror.file->Create(from.st_mode & 0777); !s.ok()) return s;
  const uint64_t size = mirror.source->size();
  if (ftruncate(mirror.file->fd(), static_cast<off_t>(size)) != 0) {
    return internal::FileErrorAt("cannot extend", target, size, errno);
  }
  absl::StatusOr<std::shared_ptr<Node>> node =
      OpenNode(index, target, mirror.file->temporary_path(), /*read_only=*/false);
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
  Mirror& mirror = mirrors_[index];
  std::shared_ptr<NamedFile> publisher;
  if (mirror.file) publisher = std::make_shared<NamedFile>(*mirror.file, command_.sync ? &means_->engine : nullptr);
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
                              .on_target_error = command_.on_error,
                              .publisher = std::move(publisher)},
                             *section);
}

void MirrorWork::OnStarted() {
  for (const Mirror& mirror : mirrors_) {
    if (mirror.clients != nullptr) mirror.clients->Start();
  }
}

absl::Status MirrorWork::OnEnded(size_t index, const JobOutcome& outcome, bool completed) {
  Mirror& mirror = mirrors_[index];
  mirror.switched = outcome.succeeded() && completed;
  if (!mirror.file) return absl::OkStatus();
  if (outcome.succeeded()) {
    mirror.file->Confirm();
  } else {
    mirror.file->Discard();
  }
  return absl::OkStatus();
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
    if (!mirror.file) continue;
    // After a switch-over, the clients' last writes are in the target only.
    if (mirror.clients != nullptr && mirror.clients->switched()) {
      mirror.file->Confirm();
    } else {
      mirror.file->Discard();
    }
  }
}

}  // namespace

int RunMirror(const MirrorCommand& command) {
  // It is a key that goes on with a job that an error has paused.
  if (command.on_error == OnError::kStop && (command.session.json || !CanPaint() || !Keys::Possible())) {
    Put(STDERR_FILENO, "jobctl: --on-error stop needs a terminal: nobody could resume the job otherwise\n");
    return kExitUsage;
  }
  return RunSession(command.session, std::make_unique<MirrorWork>(command));
}

}  // namespace jobctl

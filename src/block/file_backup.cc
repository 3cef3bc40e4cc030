// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/file_backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "block/data_extents.h"
#include "block/file_change.h"
#include "block/file_error.h"
#include "block/file_kind.h"
#include "block/target_file.h"
#include "block/unique_fd.h"
#include "block/written_extents.h"
#include "job-common/coroutine.h"
#include "job-common/io_engine.h"
#include "job-common/job_mutex.h"
#include "job-common/task_scope.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using internal::DataExtents;
using internal::Extent;
using internal::FileError;
using internal::FileErrorAt;
using internal::Quoted;
using internal::TargetFile;
using internal::UniqueFd;
using internal::WrittenExtents;

class Backup final : public JobDriver {
 public:
  Backup(FileBackupOptions options, UniqueFd source, TargetFile target)
      : options_(std::move(options)),
        engine_(*options_.engine),
        source_(std::move(source)),
        target_(std::move(target)) {}

  std::string_view type() const override { return "backup"; }

  Co<absl::Status> Run(JobContext& job) override JOBCORE_EXCLUDES(job_mutex);
  // So that a paused job does no I/O.
  Co<void> Pause(JobContext&) override { co_await requests_.AtMost(0); }

  Co<absl::Status> Prepare() override;
  Co<absl::Status> Commit() override;
  Co<void> Abort() override;
  Co<void> Clean() override;

 private:
  using Buffer = std::unique_ptr<std::byte[]>;
  // Of what Run asks for. At the end somebody waits: the monitor, or the others of the group.
  static constexpr IoUrgency kUrgency = IoUrgency::kBackground;

  absl::Status Begin(JobContext& job) JOBCORE_EXCLUDES(job_mutex);
  Co<absl::Status> CopyAll(JobContext& job);
  Co<void> CopyChunk(JobContext& job, Extent chunk);
  Co<void> OffloadOrReadAndWrite(JobContext& job, Extent chunk);
  Co<void> ReadAndWrite(JobContext& job, Extent chunk);
  Co<void> WriteBack(Extent chunk);
  void OnWriteback(uint64_t offset, int error);
  absl::Status CheckSourceUnchanged() const;
  absl::Status WalkError(const DataExtents& extents) const;
  Buffer TakeBuffer();
  void Fail(absl::Status status) {
    if (error_.ok()) error_ = std::move(status);
  }

  const FileBackupOptions options_;
  IoEngine& engine_;
  UniqueFd source_;
  TargetFile target_;

  // Only touched in the job's context, while Run goes on.
  struct stat source_stat_ = {};          // as of the start of Run
  bool offload_ = options_.copy_offload;  // until it turns out that the kernel cannot copy between these files
  bool writeback_ = options_.sync;        // until it turns out that the kernel cannot do so before a DataSync
  WrittenExtents unevicted_;              // where writeback has begun
  TaskScope requests_;
  std::vector<Buffer> free_buffers_;
  absl::Status error_;  // the first one of a request
};

Co<absl::Status> Backup::Run(JobContext& job) {
  absl::Status status = Begin(job);
  std::exception_ptr thrown;
  try {
    if (status.ok()) status = co_await CopyAll(job);
  } catch (...) {
    thrown = std::current_exception();
  }
  // However that ended: nothing is in flight any more when Run returns.
  co_await requests_.AtMost(0);
  free_buffers_.clear();  // a job may wait long for its group
  if (thrown) std::rethrow_exception(thrown);
  if (!error_.ok()) co_return error_;
  if (status.ok()) status = CheckSourceUnchanged();
  co_return status;
}

absl::Status Backup::Begin(JobContext& job) {
  if (fstat(source_.get(), &source_stat_) != 0) {
    return FileError("cannot look at source", options_.source, errno);
  }
  if (absl::Status s = target_.Create(); !s.ok()) return s;
  job.PublishDetails(
      {{"source", options_.source}, {"target", options_.target}, {"temporary", target_.temporary_path()}});
  // Whatever is not written from now on is a hole.
  if (ftruncate(target_.fd(), source_stat_.st_size) != 0) {
    return FileErrorAt("cannot extend target", options_.target, static_cast<uint64_t>(source_stat_.st_size), errno);
  }
  free_buffers_.reserve(static_cast<size_t>(options_.in_flight));
  if (target_.advice_fd() < 0) writeback_ = false;
  return absl::OkStatus();
}

Co<absl::Status> Backup::CopyAll(JobContext& job) {
  const auto size = static_cast<uint64_t>(source_stat_.st_size);
  uint64_t data_bytes = 0;
  DataExtents count(source_.get(), size);
  while (const std::optional<Extent> extent = count.Next()) {
    if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
    data_bytes += extent->length;
  }
  if (count.error() != 0) co_return WalkError(count);
  job.progress().SetRemaining(data_bytes);

  const auto in_flight = static_cast<size_t>(options_.in_flight);
  DataExtents extents(source_.get(), size);
  while (const std::optional<Extent> extent = extents.Next()) {
    for (Extent chunk = *extent; chunk.offset < extent->end(); chunk.offset = chunk.end()) {
      chunk.length = std::min<uint64_t>(options_.chunk_bytes, extent->end() - chunk.offset);
      co_await requests_.AtMost(in_flight - 1);
      // A pause point, too, and last before the next request: what came while we waited counts.
      if (absl::Status s = co_await job.Throttle(chunk.length); !s.ok()) co_return s;
      if (!error_.ok()) co_return error_;
      requests_.Spawn(CopyChunk(job, chunk));
    }
  }
  if (extents.error() != 0) co_return WalkError(extents);
  co_return absl::OkStatus();
}

Co<void> Backup::CopyChunk(JobContext& job, Extent chunk) {
  co_await OffloadOrReadAndWrite(job, chunk);
  if (writeback_ && error_.ok()) co_await WriteBack(chunk);
}

Co<void> Backup::OffloadOrReadAndWrite(JobContext& job, Extent chunk) {
  if (offload_) {
    const IoResult io =
        co_await CopyRange(engine_, source_.get(), chunk.offset, target_.fd(), chunk.offset, chunk.length, kUrgency);
    job.progress().Advance(io.bytes);
    chunk.offset += io.bytes;
    chunk.length -= io.bytes;
    // EXDEV, EINVAL, EOPNOTSUPP, ENOSYS, ETXTBSY and what else file systems and sandboxes say. Whatever it is: reading
    // and writing the rest either works, or tells which of the two files is at fault. So does a source that has shrunk.
    if (io.error != 0) offload_ = false;
  }
  if (chunk.length > 0 && error_.ok()) co_await ReadAndWrite(job, chunk);
}

Co<void> Backup::ReadAndWrite(JobContext& job, Extent chunk) {
  Buffer buffer = TakeBuffer();
  const std::span<std::byte> data(buffer.get(), chunk.length);
  IoResult io = co_await Read(engine_, source_.get(), chunk.offset, data, kUrgency);
  if (io.error != 0) {
    Fail(FileErrorAt("cannot read", options_.source, chunk.offset + io.bytes, io.error));
  } else if (io.bytes < data.size()) {
    Fail(absl::DataLossError(absl::StrCat("source ", Quoted(options_.source),
                                          " has shrunk while it was being copied: only ", io.bytes, " of ", data.size(),
                                          " bytes at offset ", chunk.offset)));
  } else if (error_.ok()) {  // nobody needs the rest of a copy that has failed
    io = co_await Write(engine_, target_.fd(), chunk.offset, data, kUrgency);
    if (io.error != 0 || io.bytes < data.size()) {
      Fail(FileErrorAt("cannot write", options_.target, chunk.offset + io.bytes, io.error != 0 ? io.error : ENOSPC));
    } else {
      job.progress().Advance(data.size());
    }
  }
  free_buffers_.push_back(std::move(buffer));
}

// Beside the copying of further chunks. Otherwise most of the writing would begin in Prepare only, and the copy would
// take as much of the page cache as it is long: what others have there would have to go, and new memory is dear where
// it has to come from the host of a virtual machine.
Co<void> Backup::WriteBack(Extent chunk) {
  IoResult io = co_await StartWriteback(engine_, target_.advice_fd(), chunk.offset, chunk.length, kUrgency);
  OnWriteback(chunk.offset, io.error);
  unevicted_.Add(chunk);
  while (writeback_ && error_.ok()) {
    const std::optional<Extent> oldest = unevicted_.TakeOldest(FileBackupOptions::kSyncWindow);
    if (!oldest) co_return;
    io = co_await Evict(engine_, target_.advice_fd(), oldest->offset, oldest->length, kUrgency);
    OnWriteback(oldest->offset, io.error);
  }
}

void Backup::OnWriteback(uint64_t offset, int error) {
  if (error == 0) return;
  if (error == EIO || error == ENOSPC || error == EDQUOT) {
    // Prepare would find it as well, but so late.
    Fail(FileErrorAt("cannot write", options_.target, offset, error));
  } else {
    // EINVAL, ENOSYS, EAGAIN, EPERM and what else file systems and sandboxes say. It does without: Prepare writes all,
    // and tells whether that worked.
    writeback_ = false;
  }
}

absl::Status Backup::CheckSourceUnchanged() const {
  struct stat now;
  if (fstat(source_.get(), &now) != 0) {
    return FileError("cannot look at source", options_.source, errno);
  }
  return internal::CheckUnchanged("source", options_.source, "while it was being copied", source_stat_, now);
}

absl::Status Backup::WalkError(const DataExtents& extents) const {
  return FileError("cannot find the data of", options_.source, extents.error());
}

Backup::Buffer Backup::TakeBuffer() {
  if (free_buffers_.empty()) return std::make_unique_for_overwrite<std::byte[]>(options_.chunk_bytes);
  Buffer buffer = std::move(free_buffers_.back());
  free_buffers_.pop_back();
  return buffer;
}

Co<absl::Status> Backup::Prepare() {
  // Not the set-user-ID bits: the owner may be another one.
  if (fchmod(target_.fd(), source_stat_.st_mode & 0777) != 0) {
    co_return FileError("cannot set the mode of", options_.target, errno);
  }
  if (options_.sync) {
    const IoResult io = co_await DataSync(engine_, target_.fd());
    if (io.error != 0) co_return FileError("cannot sync", options_.target, io.error);
  }
  co_return target_.CheckPublishable();
}

Co<absl::Status> Backup::Commit() {
  if (absl::Status s = target_.Publish(); !s.ok() || !options_.sync) co_return s;
  co_return co_await target_.SyncDirectory(engine_);
}

Co<void> Backup::Abort() {
  target_.Discard();
  co_return;
}

Co<void> Backup::Clean() {
  target_.Discard();  // a refused rename leaves it
  source_ = UniqueFd();
  co_return;
}

absl::StatusOr<UniqueFd> OpenSource(const std::string& path, struct stat& found) {
  if (path.empty()) return absl::InvalidArgumentError("source: empty file name");
  // Looked at before it is opened: opening a device may have effects, opening a pipe may block.
  if (stat(path.c_str(), &found) != 0) return FileError("cannot open source", path, errno);
  if (!S_ISREG(found.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("source ", Quoted(path), " is ", internal::FileKind(found.st_mode)));
  }
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return FileError("cannot open source", path, errno);
  if (fstat(fd.get(), &found) != 0) return FileError("cannot look at source", path, errno);
  if (!S_ISREG(found.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("source ", Quoted(path), " is ", internal::FileKind(found.st_mode)));
  }
  return fd;
}

absl::Status CheckNumbers(const FileBackupOptions& options) {
  if (options.engine == nullptr) return absl::InvalidArgumentError("backup: no I/O engine");
  if (options.in_flight < 1 || options.in_flight > FileBackupOptions::kMaxInFlight) {
    return absl::InvalidArgumentError(absl::StrCat("backup: ", options.in_flight, " requests in flight; 1 to ",
                                                   FileBackupOptions::kMaxInFlight, " are possible"));
  }
  if (options.chunk_bytes < FileBackupOptions::kMinChunkBytes ||
      options.chunk_bytes > FileBackupOptions::kMaxChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat("backup: chunks of ", options.chunk_bytes, " bytes; ",
                                                   FileBackupOptions::kMinChunkBytes, " to ",
                                                   FileBackupOptions::kMaxChunkBytes, " are possible"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobDriver>> MakeFileBackup(FileBackupOptions options) {
  if (absl::Status s = CheckNumbers(options); !s.ok()) return s;
  struct stat source_stat;
  absl::StatusOr<UniqueFd> source = OpenSource(options.source, source_stat);
  if (!source.ok()) return source.status();
  const uint64_t room = static_cast<uint64_t>(source_stat.st_blocks) * 512;
  absl::StatusOr<TargetFile> target = TargetFile::Open(options.target, options.force, room, &source_stat);
  if (!target.ok()) return target.status();
  return std::make_unique<Backup>(std::move(options), *std::move(source), *std::move(target));
}

}  // namespace jobcore::inline JOBCORE_ABI

// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/create_image.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "block/target_file.h"
#include "job-common/coroutine.h"
#include "job-common/io_engine.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

using internal::FileError;
using internal::FileErrorAt;
using internal::TargetFile;
using Preallocation = CreateImageOptions::Preallocation;

class CreateImage final : public JobDriver {
 public:
  explicit CreateImage(CreateImageOptions options) : options_(std::move(options)), engine_(*options_.engine) {}

  std::string_view type() const override { return "create"; }

  Co<absl::Status> Run(JobContext& job) override JOBCORE_EXCLUDES(job_mutex);
  Co<absl::Status> Prepare() override;
  Co<absl::Status> Commit() override;
  Co<void> Abort() override;
  Co<void> Clean() override;

 private:
  absl::Status Begin(JobContext& job) JOBCORE_EXCLUDES(job_mutex);
  Co<IoResult> Preallocate(uint64_t offset, size_t bytes);

  const CreateImageOptions options_;
  IoEngine& engine_;
  std::optional<TargetFile> image_;
  std::vector<std::byte> zeros_;
};

Co<absl::Status> CreateImage::Run(JobContext& job) {
  if (absl::Status s = Begin(job); !s.ok()) co_return s;
  const uint64_t end = options_.preallocation == Preallocation::kOff ? 0 : options_.size;
  job.progress().SetRemaining(end);
  const bool writes = options_.preallocation == Preallocation::kFull;
  const uint64_t most = writes ? uint64_t{1} << 20 : uint64_t{64} << 20;  // between two pause points
  if (writes) zeros_.resize(std::min(most, end));
  for (uint64_t offset = 0; offset < end;) {
    const uint64_t bytes = std::min(most, end - offset);
    if (absl::Status s = co_await job.Throttle(bytes); !s.ok()) co_return s;
    const IoResult io = co_await Preallocate(offset, bytes);
    if (io.error == EOPNOTSUPP) {
      co_return absl::UnimplementedError(
          absl::StrCat("cannot set room aside for ", internal::Quoted(options_.filename),
                       ": its file system does not support that; preallocation 'off' or 'full' would work"));
    }
    if (io.error != 0) co_return FileErrorAt("cannot preallocate", options_.filename, offset, io.error);
    job.progress().Advance(bytes);
    offset += bytes;
  }
  zeros_ = {};
  co_return absl::OkStatus();
}

absl::Status CreateImage::Begin(JobContext& job) {
  const bool takes_room = options_.preallocation != Preallocation::kOff;
  absl::StatusOr<TargetFile> image =
      TargetFile::Open(options_.filename, options_.replace, takes_room ? options_.size : 0, /*source=*/nullptr);
  if (!image.ok()) return image.status();
  image_.emplace(*std::move(image));
  if (absl::Status s = image_->LockReplaced(); !s.ok()) return s;
  if (absl::Status s = image_->Create(options_.mode & 0777); !s.ok()) return s;
  job.PublishDetails({{"target", options_.filename}, {"temporary", image_->temporary_path()}});
  if (ftruncate(image_->fd(), static_cast<off_t>(options_.size)) != 0) {
    return FileErrorAt("cannot extend", options_.filename, options_.size, errno);
  }
  return absl::OkStatus();
}

Co<IoResult> CreateImage::Preallocate(uint64_t offset, size_t bytes) {
  if (options_.preallocation == Preallocation::kFalloc) {
    co_return co_await Allocate(engine_, image_->fd(), offset, bytes);
  }
  IoResult io = co_await Write(engine_, image_->fd(), offset, std::span<const std::byte>(zeros_).first(bytes));
  if (io.error == 0 && io.bytes < bytes) io.error = ENOSPC;
  co_return io;
}

Co<absl::Status> CreateImage::Prepare() {
  if (options_.sync) {
    const IoResult io = co_await DataSync(engine_, image_->fd());
    if (io.error != 0) co_return FileError("cannot sync", options_.filename, io.error);
  }
  if (absl::Status s = image_->LockReplaced(); !s.ok()) co_return s;  // it may have been replaced while this job ran
  co_return image_->CheckPublishable();
}

Co<absl::Status> CreateImage::Commit() {
  if (absl::Status s = image_->Publish(); !s.ok() || !options_.sync) co_return s;
  co_return co_await image_->SyncDirectory(engine_);
}

Co<void> CreateImage::Abort() {
  image_.reset();
  co_return;
}

Co<void> CreateImage::Clean() {
  image_.reset();  // a refused rename leaves it
  co_return;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobDriver>> MakeCreateImage(CreateImageOptions options) {
  if (options.filename.empty()) return absl::InvalidArgumentError("create: empty file name");
  if (options.engine == nullptr) return absl::InvalidArgumentError("create: no I/O engine");
  if (options.size > uint64_t{std::numeric_limits<off_t>::max()}) {
    return absl::InvalidArgumentError(absl::StrCat("create: no file can have ", options.size, " bytes, which ",
                                                   internal::Quoted(options.filename), " is to have; at most ",
                                                   std::numeric_limits<off_t>::max()));
  }
  return std::make_unique<CreateImage>(std::move(options));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

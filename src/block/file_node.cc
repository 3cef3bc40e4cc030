// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/file_node.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "block/file_error.h"
#include "block/file_kind.h"
#include "block/image_lock.h"
#include "block/unique_fd.h"
#include "job-common/io_engine.h"
#include "job-driver/block/range_lock.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

using internal::FileError;
using internal::UniqueFd;

// Of what goes past the page cache: offset, length and address of the buffer. The largest that is in use anywhere.
constexpr uint64_t kAlignment = 4096;

bool IsAligned(uint64_t offset, std::span<const std::byte> buffer) {
  return (offset | buffer.size() | reinterpret_cast<uintptr_t>(buffer.data())) % kAlignment == 0;
}

class FileNode final : public Node {
 public:
  FileNode(JobCore& core, FileOptions options, uint64_t size, UniqueFd file, UniqueFd direct)
      : Node(core, std::move(options.node), size),
        engine_(*options.engine),
        filename_(std::move(options.filename)),
        no_flush_(options.no_flush),
        discard_(options.discard),
        file_(std::move(file)),
        direct_(std::move(direct)) {}

  const char* driver() const override { return "file"; }

 protected:
  Co<int> DoRead(const Admission&, uint64_t offset, std::span<std::byte> buffer) override JOBCORE_EXCLUDES(job_mutex);
  Co<int> DoWrite(const Admission&, NodeWrite write) override JOBCORE_EXCLUDES(job_mutex);
  Co<int> DoFlush(const Admission&) override JOBCORE_EXCLUDES(job_mutex);
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission&, uint64_t offset, uint64_t length) override
      JOBCORE_EXCLUDES(job_mutex);
  Co<absl::Status> DoResize(const Admission&, uint64_t size) override JOBCORE_EXCLUDES(job_mutex);

 private:
  Co<int> WriteData(uint64_t offset, std::span<const std::byte> data);
  Co<int> WriteZeroes(NodeWrite write);
  Co<int> WriteZeroesAsData(uint64_t offset, uint64_t length);
  // Neither the page cache's copy of a page, nor what is written past it, may overtake the other: direct and buffered
  // writes take turns at each page.
  RangeLock::Acquiring Pages(uint64_t offset, uint64_t length) {
    const uint64_t begin = offset / kAlignment * kAlignment;
    const uint64_t end = (offset + length + kAlignment - 1) / kAlignment * kAlignment;
    return pages_.Acquire(begin, end - begin);
  }

  IoEngine& engine_;
  const std::string filename_;
  const bool no_flush_;
  const bool discard_;
  const UniqueFd file_;    // through the page cache; holds the image's lock
  const UniqueFd direct_;  // past it; none: not asked for
  RangeLock pages_;        // of a file that is open for both
};

Co<int> FileNode::DoRead(const Admission&, uint64_t offset, std::span<std::byte> buffer) {
  const bool direct = direct_ && IsAligned(offset, buffer);
  const IoResult io = co_await (direct ? jobcore::Read(engine_, direct_.get(), offset, buffer)
                                       : ReadCached(engine_, file_.get(), offset, buffer));
  if (io.error != 0) co_return io.error;
  std::fill(buffer.begin() + static_cast<ptrdiff_t>(io.bytes), buffer.end(), std::byte{0});
  co_return 0;
}

Co<int> FileNode::DoWrite(const Admission&, NodeWrite write) {
  switch (write.kind) {
    case NodeWrite::Kind::kData:
      return WriteData(write.offset, write.data);
    case NodeWrite::Kind::kZeroes:
      return WriteZeroes(write);
    case NodeWrite::Kind::kDiscard:
      if (!discard_) return Co<int>();  // done: nobody relies on the content
      return WriteZeroes({.kind = write.kind, .offset = write.offset, .length = write.length, .may_unmap = true});
  }
  internal::Die("a write of no kind");
}

Co<int> FileNode::WriteData(uint64_t offset, std::span<const std::byte> data) {
  RangeLock::Hold pages;
  int fd = file_.get();
  if (direct_) {
    pages = co_await Pages(offset, data.size());
    if (IsAligned(offset, data)) fd = direct_.get();
  }
  const IoResult io = co_await jobcore::Write(engine_, fd, offset, data);
  if (io.error != 0) co_return io.error;
  co_return io.bytes == data.size() ? 0 : ENOSPC;
}

Co<int> FileNode::WriteZeroes(NodeWrite write) {
  if (write.length == 0) co_return 0;
  RangeLock::Hold pages;
  if (direct_) pages = co_await Pages(write.offset, write.length);
  const IoResult io = co_await (write.may_unmap ? PunchHole(engine_, file_.get(), write.offset, write.length)
                                                : ZeroRange(engine_, file_.get(), write.offset, write.length));
  if (io.error != EOPNOTSUPP && io.error != ENOSYS && io.error != EINVAL) co_return io.error;
  if (write.kind == NodeWrite::Kind::kDiscard) co_return 0;
  co_return co_await WriteZeroesAsData(write.offset, write.length);
}

Co<int> FileNode::WriteZeroesAsData(uint64_t offset, uint64_t length) {
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  const std::vector<std::byte> zeros(std::min(length, kPiece));
  while (length > 0) {
    const std::span<const std::byte> piece(zeros.data(), std::min(length, kPiece));
    const IoResult io = co_await jobcore::Write(engine_, file_.get(), offset, piece);
    if (io.error != 0) co_return io.error;
    if (io.bytes < piece.size()) co_return ENOSPC;
    offset += piece.size();
    length -= piece.size();
  }
  co_return 0;
}

Co<int> FileNode::DoFlush(const Admission&) {
  if (no_flush_) co_return 0;
  co_return (co_await DataSync(engine_, file_.get())).error;
}

// Blocks for as long as a look into the file system's map takes.
Co<absl::StatusOr<BlockStatus>> FileNode::DoStatus(const Admission&, uint64_t offset, uint64_t length) {
  const auto from = static_cast<off_t>(offset);
  const off_t data = lseek(file_.get(), from, SEEK_DATA);
  if (data < 0) {
    if (errno == ENXIO) co_return BlockStatus{.length = length, .zero = true, .stored = false};  // nothing but a hole
    co_return BlockStatus{.length = length};                                                     // it cannot tell
  }
  if (data > from) {
    co_return BlockStatus{
        .length = std::min(length, static_cast<uint64_t>(data - from)), .zero = true, .stored = false};
  }
  const off_t hole = lseek(file_.get(), from, SEEK_HOLE);
  if (hole <= from) co_return BlockStatus{.length = length};
  co_return BlockStatus{.length = std::min(length, static_cast<uint64_t>(hole - from))};
}

Co<absl::Status> FileNode::DoResize(const Admission&, uint64_t size) {
  if (ftruncate(file_.get(), static_cast<off_t>(size)) != 0) {
    co_return FileError("cannot resize", filename_, errno);
  }
  co_return absl::OkStatus();
}

absl::Status NoImage(const std::string& filename, mode_t mode) {
  return absl::InvalidArgumentError(
      absl::StrCat("cannot use ", internal::Quoted(filename), ": it is ", internal::FileKind(mode)));
}

// What is no image may fail to be opened for reasons that say little: "No such device or address".
absl::Status OpenError(const std::string& filename, int error) {
  struct stat found;
  if (stat(filename.c_str(), &found) == 0 && !S_ISREG(found.st_mode) && !S_ISBLK(found.st_mode)) {
    return NoImage(filename, found.st_mode);
  }
  return FileError("cannot open", filename, error);
}

absl::StatusOr<uint64_t> SizeOf(int fd, const std::string& filename) {
  struct stat file;
  if (fstat(fd, &file) != 0) return FileError("cannot look at", filename, errno);
  if (S_ISREG(file.st_mode)) return static_cast<uint64_t>(file.st_size);
  if (S_ISBLK(file.st_mode)) {
    uint64_t size = 0;
    if (ioctl(fd, BLKGETSIZE64, &size) != 0) return FileError("cannot tell the size of", filename, errno);
    return size;
  }
  return NoImage(filename, file.st_mode);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Node>> OpenFileNode(JobCore& core, FileOptions options) {
  if (options.engine == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("Node '", options.node.name, "' was given no engine"));
  }
  const int mode = (options.node.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  // Not to wait for the other end of a pipe.
  UniqueFd file(open(options.filename.c_str(), mode | O_NONBLOCK));
  if (!file) return OpenError(options.filename, errno);
  if (fcntl(file.get(), F_SETFL, 0) != 0) return FileError("cannot open", options.filename, errno);
  if (absl::Status kind = SizeOf(file.get(), options.filename).status(); !kind.ok()) return kind;
  UniqueFd direct;
  if (options.direct) {
    direct = UniqueFd(open(options.filename.c_str(), mode | O_DIRECT));
    if (!direct) return FileError("cannot open past the page cache", options.filename, errno);
    struct stat a, b;
    if (fstat(file.get(), &a) != 0 || fstat(direct.get(), &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino) {
      return absl::FailedPreconditionError(
          absl::StrCat(internal::Quoted(options.filename), " has been replaced while it was being opened"));
    }
  }
  if (options.locking != FileOptions::Locking::kOff) {
    const bool required = options.locking == FileOptions::Locking::kOn;
    absl::Status locked = internal::LockImage(file.get(), options.filename, !options.node.read_only, required);
    if (!locked.ok()) return locked;
  }
  // Now that those who would change it are locked out.
  const absl::StatusOr<uint64_t> size = SizeOf(file.get(), options.filename);
  if (!size.ok()) return size.status();
  return std::make_shared<FileNode>(core, std::move(options), *size, std::move(file), std::move(direct));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

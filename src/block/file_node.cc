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
#include "block/file_change.h"
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

IoUrgency Urgency(const Admission& in) { return in.in_background() ? IoUrgency::kBackground : IoUrgency::kForeground; }

class FileNode final : public Node {
 public:
  FileNode(JobCore& core, FileOptions options, uint64_t size, const struct stat& opened, UniqueFd file, UniqueFd direct)
      : Node(core, std::move(options.node), size),
        engine_(*options.engine),
        filename_(std::move(options.filename)),
        no_flush_(options.no_flush),
        discard_(options.discard),
        opened_(opened),
        file_(std::move(file)),
        direct_(std::move(direct)) {}

  const char* driver() const override { return "file"; }
  absl::Status CheckIntact() const override;

 protected:
  Co<int> DoRead(const Admission&, uint64_t offset, std::span<std::byte> buffer) override JOBCORE_EXCLUDES(job_mutex);
  Co<int> DoWrite(const Admission&, NodeWrite write) override JOBCORE_EXCLUDES(job_mutex);
  Co<int> DoCopyFrom(const Admission& in, uint64_t offset, uint64_t length, Node& from, const Admission& from_in,
                     uint64_t from_offset) override JOBCORE_EXCLUDES(job_mutex);
  Co<int> DoCopyTo(const Admission& in, uint64_t offset, uint64_t length, FilePart to) override
      JOBCORE_EXCLUDES(job_mutex);
  Co<int> DoFlush(const Admission&) override JOBCORE_EXCLUDES(job_mutex);
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission&, uint64_t offset, uint64_t length) override
      JOBCORE_EXCLUDES(job_mutex);
  Co<absl::Status> DoResize(const Admission&, uint64_t size) override JOBCORE_EXCLUDES(job_mutex);

 private:
  Co<int> WriteData(uint64_t offset, std::span<const std::byte> data, IoUrgency urgency);
  Co<int> WriteZeroes(NodeWrite write, IoUrgency urgency);
  Co<int> WriteZeroesAsData(uint64_t offset, uint64_t length, IoUrgency urgency);
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
  const struct stat opened_;  // as of then
  const UniqueFd file_;       // through the page cache; holds the image's lock
  const UniqueFd direct_;     // past it; none: not asked for
  RangeLock pages_;           // of a file that is open for both
};

Co<int> FileNode::DoRead(const Admission& in, uint64_t offset, std::span<std::byte> buffer) {
  const bool direct = direct_ && IsAligned(offset, buffer);
  const IoResult io = co_await (direct ? jobcore::Read(engine_, direct_.get(), offset, buffer, Urgency(in))
                                       : ReadCached(engine_, file_.get(), offset, buffer, Urgency(in)));
  if (io.error != 0) co_return io.error;
  // Fewer bytes: somebody who does not care for locks has cut the file. CheckIntact says so.
  co_return io.bytes == buffer.size() ? 0 : EIO;
}

absl::Status FileNode::CheckIntact() const {
  struct stat now;
  if (fstat(file_.get(), &now) != 0) return FileError("cannot look at", filename_, errno);
  if (!S_ISREG(now.st_mode)) return absl::OkStatus();  // a device does not tell
  constexpr char kSince[] = "since it was opened, by somebody who does not heed its lock";
  if (read_only()) return internal::CheckUnchanged("file", filename_, kSince, opened_, now);
  return internal::CheckSameSize("file", filename_, kSince, static_cast<off_t>(size()), now.st_size);
}

Co<int> FileNode::DoWrite(const Admission& in, NodeWrite write) {
  switch (write.kind) {
    case NodeWrite::Kind::kData:
      return WriteData(write.offset, write.data, Urgency(in));
    case NodeWrite::Kind::kZeroes:
      return WriteZeroes(write, Urgency(in));
    case NodeWrite::Kind::kDiscard:
      if (!discard_) return Co<int>();  // done: nobody relies on the content
      write.may_unmap = true;
      return WriteZeroes(write, Urgency(in));
  }
  internal::Die("a write of no kind");
}

Co<int> FileNode::WriteData(uint64_t offset, std::span<const std::byte> data, IoUrgency urgency) {
  RangeLock::Hold pages;
  int fd = file_.get();
  if (direct_) {
    pages = co_await Pages(offset, data.size());
    if (IsAligned(offset, data)) fd = direct_.get();
  }
  const IoResult io = co_await (fd == file_.get() ? WriteCached(engine_, fd, offset, data, urgency)
                                                  : jobcore::Write(engine_, fd, offset, data, urgency));
  if (io.error != 0) co_return io.error;
  co_return io.bytes == data.size() ? 0 : ENOSPC;
}

Co<int> FileNode::WriteZeroes(NodeWrite write, IoUrgency urgency) {
  if (write.length == 0) co_return 0;
  RangeLock::Hold pages;
  if (direct_) pages = co_await Pages(write.offset, write.length);
  const auto zero = write.may_unmap ? &PunchHole : &ZeroRange;
  const IoResult io = co_await zero(engine_, file_.get(), write.offset, write.length, urgency);
  if (io.error != EOPNOTSUPP && io.error != ENOSYS && io.error != EINVAL) co_return io.error;
  if (write.kind == NodeWrite::Kind::kDiscard) co_return 0;
  co_return co_await WriteZeroesAsData(write.offset, write.length, urgency);
}

Co<int> FileNode::WriteZeroesAsData(uint64_t offset, uint64_t length, IoUrgency urgency) {
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  const std::vector<std::byte> zeros(std::min(length, kPiece));
  while (length > 0) {
    const std::span<const std::byte> piece(zeros.data(), std::min(length, kPiece));
    const IoResult io = co_await WriteCached(engine_, file_.get(), offset, piece, urgency);
    if (io.error != 0) co_return io.error;
    if (io.bytes < piece.size()) co_return ENOSPC;
    offset += piece.size();
    length -= piece.size();
  }
  co_return 0;
}

// Through the page cache, and so not where somebody asked for the way past it.
Co<int> FileNode::DoCopyFrom(const Admission&, uint64_t offset, uint64_t length, Node& from, const Admission& from_in,
                             uint64_t from_offset) {
  if (direct_) co_return EOPNOTSUPP;
  co_return co_await from.CopyTo(from_in, from_offset, length,
                                 {.engine = &engine_, .fd = file_.get(), .offset = offset});
}

Co<int> FileNode::DoCopyTo(const Admission& in, uint64_t offset, uint64_t length, FilePart to) {
  if (direct_ || to.engine != &engine_) co_return EOPNOTSUPP;
  const IoResult io = co_await CopyData(engine_, file_.get(), offset, to.fd, to.offset, length, Urgency(in));
  // Shorter: somebody has cut the file. Who reads it is told.
  if (io.error == 0 && io.bytes < length) co_return EOPNOTSUPP;
  co_return io.error;
}

Co<int> FileNode::DoFlush(const Admission& in) {
  if (no_flush_) co_return 0;
  co_return (co_await DataSync(engine_, file_.get(), Urgency(in))).error;
}

// Blocks for as long as a look into the file system's map takes.
Co<absl::StatusOr<BlockStatus>> FileNode::DoStatus(const Admission&, uint64_t offset, uint64_t length) {
  const auto from = static_cast<off_t>(offset);
  const off_t data = lseek(file_.get(), from, SEEK_DATA);
  if (data < 0) {
    if (errno != ENXIO) co_return BlockStatus{.length = length};  // it cannot tell
    // Nothing but a hole from there to the end, which is not where it was if the file has been cut.
    const off_t end = lseek(file_.get(), 0, SEEK_END);
    if (end <= from) co_return BlockStatus{.length = length};  // who reads it is told
    co_return BlockStatus{.length = std::min(length, static_cast<uint64_t>(end - from)), .zero = true, .stored = false};
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
  if (error == EBUSY) {
    return absl::FailedPreconditionError(absl::StrCat("cannot use ", internal::Quoted(filename),
                                                      " for writing: it is mounted, or in use in another such way"));
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
  // Without O_CREAT, that says something about devices only: the kernel must not use it, as a mounted one, nor let
  // anybody else have it so.
  const int exclusive = options.node.read_only ? 0 : O_EXCL;
  // Not to wait for the other end of a pipe.
  UniqueFd file(open(options.filename.c_str(), mode | exclusive | O_NONBLOCK));
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
  struct stat opened;
  if (fstat(file.get(), &opened) != 0) return FileError("cannot look at", options.filename, errno);
  return std::make_shared<FileNode>(core, std::move(options), *size, opened, std::move(file), std::move(direct));
}

}  // namespace jobcore::inline JOBCORE_ABI::block

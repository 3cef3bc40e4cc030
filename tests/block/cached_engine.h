// SPDX-License-Identifier: Apache-2.0
//
// CachedEngine: an IoEngine over files that tells a journal when each request begins and is done, and remembers what it
// was, so that somebody can work out what a power failure may leave. It performs requests in threads of its own, in any
// order, and syncs nothing: what survives is a matter of the model (write_cache.h).

#ifndef JOBCORE_TESTS_BLOCK_CACHED_ENGINE_H_
#define JOBCORE_TESTS_BLOCK_CACHED_ENGINE_H_

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "block/stamp.h"
#include "block/storm_journal.h"
#include "job-common/io_engine.h"

namespace jobcore::block {

// What a request does to an image.
struct CachedRequest {
  uint16_t image = 0;
  bool sync = false;
  uint64_t first_sector = 0;
  std::vector<Stamp> stamps = {};  // of a write, of its sectors
};

class CachedEngine final : public IoEngine {
 public:
  CachedEngine(StormJournal& journal, uint32_t seed) : journal_(journal), random_(seed) {
    for (std::thread& thread : threads_) thread = std::thread([this] { Work(); });
  }
  ~CachedEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Before anything is done with it.
  void AddImage(const std::string& filename, uint16_t image, uint8_t disk) {
    struct stat file;
    if (stat(filename.c_str(), &file) != 0) std::abort();
    const std::lock_guard lock(mutex_);
    images_[{file.st_dev, file.st_ino}] = {image, disk};
  }

  void Submit(IoRequest& request) override {
    {
      const std::lock_guard lock(mutex_);
      Queued queued = {.request = &request};
      if (request.op != Op::kRead && request.op != Op::kCopyData) queued.index = Begin(Describe(request));
      queue_.push_back(queued);
    }
    changed_.notify_one();
  }

  // --- When nothing is in flight ---
  // By the indexes that the journal has.
  const std::vector<CachedRequest>& requests() const { return requests_; }
  size_t copies() const { return copies_; }  // from file to file

 private:
  using Op = IoRequest::Op;
  struct Queued {
    IoRequest* request;
    uint32_t index = 0;
  };

  // The mutex is held.
  uint32_t Begin(CachedRequest request) {
    const auto index = static_cast<uint32_t>(requests_.size());
    requests_.push_back(std::move(request));
    journal_.Append(StormEvent::OfIo(StormEvent::Kind::kIoBegun, index));
    return index;
  }
  std::pair<uint16_t, uint8_t> ImageOf(int fd) const {
    struct stat file;
    if (fstat(fd, &file) != 0) std::abort();
    return images_.at({file.st_dev, file.st_ino});
  }
  CachedRequest DescribeWrite(int fd, uint64_t offset, std::span<const std::byte> data) const {
    const auto [image, disk] = ImageOf(fd);
    const uint64_t first = offset / kSectorBytes;
    return {.image = image, .first_sector = first, .stamps = ReadStamps(data, disk, first)};
  }
  CachedRequest Describe(const IoRequest& request) const {
    const uint16_t image = ImageOf(request.fd).first;
    const uint64_t first = request.offset / kSectorBytes;
    switch (request.op) {
      case Op::kWrite:
        return DescribeWrite(request.fd, request.offset, request.buffer);
      case Op::kPunchHole:
      case Op::kZeroRange:
        return {.image = image, .first_sector = first, .stamps = std::vector(request.size / kSectorBytes, kZeros)};
      case Op::kDataSync:
        return {.image = image, .sync = true};
      default:
        std::abort();  // no file node does that
    }
  }

  void Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      std::swap(queue_[random_() % queue_.size()], queue_.back());
      const Queued next = queue_.back();
      queue_.pop_back();
      lock.unlock();
      const IoResult result = next.request->op == Op::kCopyData ? Copy(*next.request) : Perform(*next.request);
      if (next.request->op != Op::kRead && next.request->op != Op::kCopyData) NoteDone(next.index);
      next.request->Complete(result);
      lock.lock();
    }
  }

  void NoteDone(uint32_t index) { journal_.Append(StormEvent::OfIo(StormEvent::Kind::kIoDone, index)); }

  // What it writes is known once it has read that: only then it begins to change anything.
  IoResult Copy(const IoRequest& request) {
    std::vector<std::byte> data(request.size);
    const ssize_t read = pread(request.fd, data.data(), data.size(), static_cast<off_t>(request.offset));
    if (read < 0) return {.error = errno};
    data.resize(static_cast<size_t>(read));
    uint32_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      ++copies_;
      index = Begin(DescribeWrite(request.to_fd, request.to_offset, data));
    }
    const ssize_t written = pwrite(request.to_fd, data.data(), data.size(), static_cast<off_t>(request.to_offset));
    const IoResult result = written < 0 ? IoResult{.error = errno} : IoResult{.bytes = static_cast<size_t>(written)};
    NoteDone(index);
    return result;
  }

  static IoResult Perform(const IoRequest& request) {
    const auto offset = static_cast<off_t>(request.offset);
    const auto size = static_cast<off_t>(request.size);
    ssize_t done = 0;
    switch (request.op) {
      case Op::kRead:
        done = pread(request.fd, request.buffer.data(), request.size, offset);
        break;
      case Op::kWrite:
        done = pwrite(request.fd, request.buffer.data(), request.size, offset);
        break;
      case Op::kPunchHole:
        done = fallocate(request.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
        break;
      case Op::kZeroRange:
        done = fallocate(request.fd, FALLOC_FL_ZERO_RANGE, offset, size);
        break;
      default:
        break;
    }
    if (done < 0) return {.error = errno};
    return {.bytes = static_cast<size_t>(done)};
  }

  StormJournal& journal_;
  std::mutex mutex_;  // guards the rest, but for what is constant while nothing is in flight
  std::condition_variable changed_;
  std::minstd_rand random_;
  std::map<std::pair<dev_t, ino_t>, std::pair<uint16_t, uint8_t>> images_;
  std::vector<CachedRequest> requests_;
  std::vector<Queued> queue_;
  size_t copies_ = 0;
  bool stop_ = false;
  std::thread threads_[2];
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_CACHED_ENGINE_H_

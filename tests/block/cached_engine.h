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
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
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
    if (request.op == Op::kCopyData) {  // its user reads and writes instead, and the journal tells what
      request.Complete({.error = EOPNOTSUPP});
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      Queued queued = {.request = &request};
      if (request.op != IoRequest::Op::kRead) {
        queued.index = static_cast<uint32_t>(requests_.size());
        requests_.push_back(Describe(request));
        journal_.Append(StormEvent::OfIo(StormEvent::Kind::kIoBegun, queued.index));
      }
      queue_.push_back(queued);
    }
    changed_.notify_one();
  }

  // By the indexes that the journal has. When nothing is in flight.
  const std::vector<CachedRequest>& requests() const { return requests_; }

 private:
  using Op = IoRequest::Op;
  struct Queued {
    IoRequest* request;
    uint32_t index = 0;
  };

  CachedRequest Describe(const IoRequest& request) {
    struct stat file;
    if (fstat(request.fd, &file) != 0) std::abort();
    const auto [image, disk] = images_.at({file.st_dev, file.st_ino});
    const uint64_t first = request.offset / kSectorBytes;
    switch (request.op) {
      case Op::kWrite:
        return {.image = image, .first_sector = first, .stamps = ReadStamps(request.buffer, disk, first)};
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
      const IoResult result = Perform(*next.request);
      if (next.request->op != Op::kRead) journal_.Append(StormEvent::OfIo(StormEvent::Kind::kIoDone, next.index));
      next.request->Complete(result);
      lock.lock();
    }
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
  bool stop_ = false;
  std::thread threads_[2];
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_CACHED_ENGINE_H_

// SPDX-License-Identifier: Apache-2.0
//
// StormJournal: what clients were told, and what was asked of jobs, in one order, in memory that outlives the process
// that writes it. Where it is mapped by two processes, one may be killed at any moment.
//
// An event that is about to make something possible (a write begins) is appended before that, one that makes a promise
// (a write is acknowledged) when the promise holds. So one that is missing because somebody was killed while appending
// it only makes those who check more lenient.

#ifndef JOBCORE_TESTS_BLOCK_STORM_JOURNAL_H_
#define JOBCORE_TESTS_BLOCK_STORM_JOURNAL_H_

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct StormEvent {
  enum class Kind : uint8_t {
    kNone,  // its author was killed
    // Of a client, while its request is admitted; `image` is where it goes.
    kBegun,         // the write `number` of `block`
    kAcknowledged,  // the same
    kFlushBegun,    // by client `block`
    kFlushed,       // the same
    // Of jobs whose source is `disk`, and whose target is `image`.
    kBackup,          // its moment
    kBackedUp,        // it has succeeded
    kSoftCancel,      // a mirror is about to be asked to end with a copy of one moment
    kSoftlyCanceled,  // it has
    kComplete,        // a mirror is about to be asked to switch over
    kSwitched,        // it has
    // Of an engine that remembers requests; index().
    kIoBegun,
    kIoDone,
  };
  Kind kind = Kind::kNone;
  uint8_t disk = 0;
  uint16_t block = 0;
  uint16_t image = 0;
  uint16_t number = 0;

  static StormEvent OfIo(Kind kind, uint32_t index) {
    return {.kind = kind, .block = static_cast<uint16_t>(index >> 16), .image = static_cast<uint16_t>(index)};
  }
  uint32_t index() const { return uint32_t{block} << 16 | image; }
};

class StormJournal {
 public:
  static constexpr uint64_t kMostEvents = uint64_t{1} << 20;

  // In memory of this process, or in a file, which is made.
  explicit StormJournal(const std::string& path = "") {
    const int fd = path.empty() ? -1 : open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (!path.empty() && (fd < 0 || ftruncate(fd, sizeof(Shared)) != 0)) std::abort();
    const int flags = path.empty() ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED) std::abort();
    if (fd >= 0) close(fd);
    shared_ = static_cast<Shared*>(memory);
  }
  ~StormJournal() { munmap(shared_, sizeof(Shared)); }
  StormJournal(const StormJournal&) = delete;
  StormJournal& operator=(const StormJournal&) = delete;

  // The process kills itself when so many events are there.
  void KillAt(uint64_t events) { kill_at_.store(events); }
  // When so many have followed the first switch that is asked for, or the first write that is acknowledged on its other
  // side. Before any event.
  void KillAfterComplete(uint64_t events) { kill_after_complete_ = events; }
  void KillAfterSwitch(uint64_t events) { kill_after_switch_ = events; }

  // Any thread.
  void Append(StormEvent event) {
    const uint64_t at = shared_->size.fetch_add(1);
    if (at >= kMostEvents) std::abort();  // nobody has stopped it
    shared_->events[at].store(event);
    if (event.kind == StormEvent::Kind::kComplete) KillAfter(kill_after_complete_, at);
    // Disks begin on the image of their own number.
    if (event.kind == StormEvent::Kind::kAcknowledged && event.image != event.disk) KillAfter(kill_after_switch_, at);
    if (at + 1 >= kill_at_.load()) kill(getpid(), SIGKILL);
  }
  uint64_t size() const { return std::min(shared_->size.load(), kMostEvents); }
  bool nearly_full() const { return size() > kMostEvents / 2; }

  std::vector<StormEvent> Events() const {
    std::vector<StormEvent> events(size());
    for (size_t i = 0; i < events.size(); ++i) events[i] = shared_->events[i].load();
    return events;
  }

 private:
  struct Shared {
    std::atomic<uint64_t> size;
    std::atomic<StormEvent> events[kMostEvents];
  };
  static_assert(std::atomic<StormEvent>::is_always_lock_free);

  void KillAfter(uint64_t events, uint64_t at) {
    if (events != 0) kill_at_.store(std::min(kill_at_.load(), at + events));
  }

  Shared* shared_;
  std::atomic<uint64_t> kill_at_{UINT64_MAX};
  uint64_t kill_after_complete_ = 0;  // 0: not
  uint64_t kill_after_switch_ = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_TESTS_BLOCK_STORM_JOURNAL_H_

// SPDX-License-Identifier: Apache-2.0
//
// Channel: the bytes of one connection, for coroutines. It stays in one context at a time; between two stays what has
// been received and not been used is kept.

#ifndef JOBCORE_NBD_CHANNEL_H_
#define JOBCORE_NBD_CHANNEL_H_

#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "block/unique_fd.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

// Something to be sent: a head, and perhaps bytes that belong to somebody else. Stays where it is until it has been.
struct Outgoing {
  std::array<std::byte, 64> head;
  size_t head_size = 0;
  std::span<const std::byte> payload = {};

 private:
  friend class Channel;
  size_t sent_ = 0;  // bytes of both
  bool done_ = false;
  CoHandle waiter_;
};

// All home thread of the context where it stays; one coroutine receives at a time, any number send.
class Channel {
 public:
  static constexpr size_t kBuffer = size_t{64} * 1024;

  // A stream socket that does not block.
  explicit Channel(internal::UniqueFd socket) : socket_(std::move(socket)), buffer_(kBuffer) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() { Leave(); }

  int fd() const { return socket_.get(); }
  // Nothing that is sent arrives any more.
  bool broken() const { return broken_; }
  // Begins a stay in the calling thread's context. Fails as epoll does.
  absl::Status Enter();
  // Ends it. Nobody waits.
  void Leave();

  enum class Got {
    kBytes,
    kEnd,          // there will be no more: the other side has closed, or gone
    kInterrupted,  // by Interrupt
  };

  // --- Receiving ---
  class Receiver;
  // For co_await, a Got: at least `size` bytes, of at most kBuffer, have come. Can be interrupted while it waits.
  [[nodiscard]] Receiver Await(size_t size);
  // So much has come, and has not been used.
  bool HasReceived(size_t size) const { return available() >= size; }
  // The first of what has come.
  std::span<const std::byte> Front(size_t size) const { return {buffer_.data() + begin_, size}; }
  void Drop(size_t size) { begin_ += size; }
  // For co_await, a Got: `target` has been filled.
  [[nodiscard]] Receiver Fill(std::span<std::byte> target);
  // Whoever waits in Await goes on.
  void Interrupt();

  // --- Sending ---
  class Sender;
  // For co_await, a bool: the kernel has all of it; false: it never will. What is sent later arrives later.
  // `more`: others are about to be sent as well; it goes out along with the first that has no more behind it, and in
  // the loop's next turn at the latest.
  [[nodiscard]] Sender Send(Outgoing& outgoing, bool more);
  // Goes out along with what this coroutine sends next, and before it suspends; stays until that has been sent.
  void Prepend(Outgoing& outgoing) {
    if (!broken_) outgoing_.push_back(&outgoing);
  }

 private:
  enum class Transfer { kDone, kWait, kBroken };

  size_t available() const { return end_ - begin_; }
  Transfer Receive();
  Transfer ReceiveOnce(std::span<std::byte> target);
  Transfer SendQueued();
  bool WatchFor(FdEvents events);
  void OnReady(FdEvents events);
  void OnFlush();
  void ResumeReceiver(Got got);

  internal::UniqueFd socket_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;  // what has come and has not been dropped
  size_t end_ = 0;
  bool ended_ = false;    // nothing more will come
  bool emptied_ = false;  // the socket had nothing more when it was last looked at
  int in_a_row_ = 0;      // awaits that did not wait

  AioContext* context_ = nullptr;  // of the stay
  std::unique_ptr<FdHandler> handler_;
  FdEvents interest_ = FdEvents::kNone;
  std::optional<BottomHalf> flush_;

  Receiver* receiver_ = nullptr;  // that waits
  std::deque<Outgoing*> outgoing_;
  std::vector<CoHandle> sent_;  // whose turn it is to go on
  bool blocked_ = false;        // the kernel has no room
  bool broken_ = false;         // and never will
};

class [[nodiscard]] Channel::Receiver {
 public:
  bool await_ready();
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    waiter_ = CoHandle::Of(self, target_.empty() ? "an NBD client" : "an NBD client's data");
    Wait();
  }
  Got await_resume() const noexcept { return got_; }

 private:
  friend class Channel;
  Receiver(Channel& channel, size_t size, std::span<std::byte> target)
      : channel_(channel), size_(size), target_(target) {}
  void Wait();

  Channel& channel_;
  const size_t size_;            // Await
  std::span<std::byte> target_;  // Fill: what is left of it
  Got got_ = Got::kBytes;
  CoHandle waiter_;
};

class [[nodiscard]] Channel::Sender {
 public:
  bool await_ready();
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    outgoing_.waiter_ = CoHandle::Of(self, "room for a reply to an NBD client");
    Wait();
  }
  bool await_resume() const noexcept { return outgoing_.done_; }

 private:
  friend class Channel;
  Sender(Channel& channel, Outgoing& outgoing, bool more) : channel_(channel), outgoing_(outgoing), more_(more) {}
  void Wait();

  Channel& channel_;
  Outgoing& outgoing_;
  const bool more_;
};

inline Channel::Receiver Channel::Await(size_t size) { return Receiver(*this, size, {}); }
inline Channel::Receiver Channel::Fill(std::span<std::byte> target) { return Receiver(*this, 0, target); }
inline Channel::Sender Channel::Send(Outgoing& outgoing, bool more) { return Sender(*this, outgoing, more); }

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_CHANNEL_H_

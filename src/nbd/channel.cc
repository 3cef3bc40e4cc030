// SPDX-License-Identifier: Apache-2.0

#include "nbd/channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"

namespace jobcore::inline JOBCORE_ABI::nbd {
namespace {

constexpr size_t kMaxParts = 64;  // of one system call
// So many requests of a client are taken up before others in the loop have their turn, if the node serves each at once.
constexpr int kMaxInARow = 64;

iovec Part(std::span<const std::byte> bytes) {
  return {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
}

}  // namespace

// --- Stays ---

absl::Status Channel::Enter() {
  context_ = AioContext::Current();
  if (context_ == nullptr) internal::Die("NBD: a connection on a thread that is home of no context");
  emptied_ = false;
  blocked_ = false;
  flush_.emplace(*context_, "NBD replies", [this] { OnFlush(); });
  return WatchFor(FdEvents::kReadable) ? absl::OkStatus() : absl::UnavailableError("the socket cannot be watched");
}

void Channel::Leave() {
  if (receiver_ != nullptr || !outgoing_.empty()) internal::Die("NBD: a connection left while somebody waits for it");
  handler_.reset();
  flush_.reset();
  interest_ = FdEvents::kNone;
  context_ = nullptr;
}

// False: it cannot be.
bool Channel::WatchFor(FdEvents events) {
  const FdEvents wanted = interest_ | events;
  if (handler_ != nullptr) {
    if (wanted == interest_) return true;
    interest_ = wanted;
    return handler_->SetInterest(wanted).ok();
  }
  interest_ = wanted;
  absl::StatusOr<std::unique_ptr<FdHandler>> handler = FdHandler::Create(
      *context_, "NBD connection", socket_.get(), interest_, [this](FdEvents ready) { OnReady(ready); });
  if (!handler.ok()) return false;
  handler_ = *std::move(handler);
  return true;
}

void Channel::OnReady(FdEvents events) {
  const bool error = Has(events, FdEvents::kError);
  const bool readable = error || Has(events, FdEvents::kReadable);
  const bool writable = error || Has(events, FdEvents::kWritable);
  const bool used = (readable && receiver_ != nullptr) || (writable && blocked_);
  if (readable) emptied_ = false;
  if (error && !used) {
    // It would be reported again and again. Who uses the socket next finds out by himself.
    handler_.reset();
    interest_ = FdEvents::kNone;
    return;
  }
  FdEvents unused = FdEvents::kNone;
  if (readable && receiver_ == nullptr) unused = unused | FdEvents::kReadable;
  if (writable && !blocked_) unused = unused | FdEvents::kWritable;
  interest_ = static_cast<FdEvents>(static_cast<uint32_t>(interest_) & ~static_cast<uint32_t>(unused));
  if (unused != FdEvents::kNone) (void)handler_->SetInterest(interest_);
  // Whoever is resumed may end the stay, or the channel: the last thing that is done here.
  Got got = Got::kBytes;
  bool resumes = false;
  if (readable && receiver_ != nullptr) {
    const Transfer received = Receive();
    resumes = received != Transfer::kWait;
    got = received == Transfer::kDone ? Got::kBytes : Got::kEnd;
  }
  if (writable && blocked_) {
    blocked_ = false;
    flush_->Schedule();
  }
  if (resumes) ResumeReceiver(got);
}

// --- Receiving ---

bool Channel::Receiver::await_ready() {
  Channel& channel = channel_;
  if (!target_.empty()) {  // first what has come along with something else
    const size_t size = std::min(target_.size(), channel.available());
    std::memcpy(target_.data(), channel.buffer_.data() + channel.begin_, size);
    channel.begin_ += size;
    target_ = target_.subspan(size);
    if (target_.empty()) return true;
  } else if (channel.available() >= size_ && ++channel.in_a_row_ < kMaxInARow) {
    return true;
  }
  if (size_ > kBuffer || channel.receiver_ != nullptr) internal::Die("NBD: cannot receive that now");
  channel.receiver_ = this;
  if (channel.in_a_row_ >= kMaxInARow) return false;
  const Transfer received = channel.Receive();
  if (received == Transfer::kWait) return false;
  channel.receiver_ = nullptr;
  got_ = received == Transfer::kDone ? Got::kBytes : Got::kEnd;
  return true;
}

void Channel::Receiver::Wait() {
  if (std::exchange(channel_.in_a_row_, 0) >= kMaxInARow) {
    channel_.flush_->Schedule();
    return;
  }
  if (channel_.WatchFor(FdEvents::kReadable)) return;
  // As if the other side had gone: there is no way to hear of it any more. Not from here, where the coroutine is only
  // about to suspend.
  channel_.ended_ = true;
  channel_.flush_->Schedule();
}

// For the receiver that is set.
Channel::Transfer Channel::Receive() {
  Receiver& receiver = *receiver_;
  const auto satisfied = [&] { return receiver.size_ == 0 ? receiver.target_.empty() : available() >= receiver.size_; };
  while (!satisfied()) {
    if (ended_) return Transfer::kBroken;
    if (emptied_) return Transfer::kWait;
    const Transfer once = ReceiveOnce(receiver.target_);
    if (once != Transfer::kDone) return once;
  }
  return Transfer::kDone;
}

// As much as there is: for `target`, and behind that for the buffer.
Channel::Transfer Channel::ReceiveOnce(std::span<std::byte> target) {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, available());
    end_ -= begin_;
    begin_ = 0;
  }
  const std::span<std::byte> room = std::span(buffer_).subspan(end_);
  std::array<iovec, 2> parts = {Part(target), Part(room)};
  msghdr message = {};
  message.msg_iov = target.empty() ? &parts[1] : parts.data();
  message.msg_iovlen = target.empty() ? 1 : 2;
  ssize_t n;
  do {
    n = recvmsg(socket_.get(), &message, MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    emptied_ = true;
    return Transfer::kWait;
  }
  if (n <= 0) {
    ended_ = true;
    return Transfer::kBroken;
  }
  const auto size = static_cast<size_t>(n);
  emptied_ = size < target.size() + room.size();
  const size_t for_target = std::min(size, target.size());
  if (receiver_->size_ == 0) receiver_->target_ = target.subspan(for_target);
  end_ += size - for_target;
  return Transfer::kDone;
}

void Channel::ResumeReceiver(Got got) {
  Receiver& receiver = *std::exchange(receiver_, nullptr);
  receiver.got_ = got;
  receiver.waiter_.Resume();
}

void Channel::Interrupt() {
  if (receiver_ != nullptr && receiver_->size_ > 0) ResumeReceiver(Got::kInterrupted);
}

// --- Sending ---

bool Channel::Sender::await_ready() {
  Channel& channel = channel_;
  if (channel.broken_) return true;
  channel.outgoing_.push_back(&outgoing_);
  if (more_ || channel.blocked_) return false;
  // Whoever else is in the queue waits for the loop to resume him, whatever comes of it.
  switch (channel.SendQueued()) {
    case Transfer::kDone:
      return true;
    case Transfer::kBroken:
      std::erase_if(channel.outgoing_, [](const Outgoing* each) { return !each->waiter_.handle; });  // ours
      return true;
    case Transfer::kWait:
      break;
  }
  return false;
}

void Channel::Sender::Wait() {
  if (!channel_.blocked_) {
    channel_.flush_->Schedule();
  } else if (!channel_.WatchFor(FdEvents::kWritable)) {
    channel_.broken_ = true;
    channel_.flush_->Schedule();
  }
}

// As much of the queue as the kernel takes. Those that are all sent are in sent_ afterwards.
Channel::Transfer Channel::SendQueued() {
  while (!outgoing_.empty()) {
    std::array<iovec, kMaxParts> parts;
    size_t count = 0;
    for (const Outgoing* outgoing : outgoing_) {
      if (count + 2 > kMaxParts) break;
      const auto head = std::span<const std::byte>(outgoing->head).first(outgoing->head_size);
      if (outgoing->sent_ < head.size()) parts[count++] = Part(head.subspan(outgoing->sent_));
      const size_t of_payload = outgoing->sent_ - std::min(outgoing->sent_, head.size());
      if (!outgoing->payload.empty()) parts[count++] = Part(outgoing->payload.subspan(of_payload));
    }
    msghdr message = {};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    ssize_t n;
    do {
      n = sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      blocked_ = true;
      return Transfer::kWait;
    }
    if (n < 0) {
      broken_ = true;
      return Transfer::kBroken;
    }
    for (auto size = static_cast<size_t>(n); !outgoing_.empty();) {
      Outgoing& first = *outgoing_.front();
      const size_t left = first.head_size + first.payload.size() - first.sent_;
      if (size < left) {
        first.sent_ += size;
        break;
      }
      size -= left;
      first.sent_ += left;
      first.done_ = true;
      if (first.waiter_.handle) sent_.push_back(first.waiter_);
      outgoing_.pop_front();
    }
  }
  return Transfer::kDone;
}

void Channel::OnFlush() {
  if (!broken_ && !blocked_) (void)SendQueued();
  if (blocked_ && !WatchFor(FdEvents::kWritable)) broken_ = true;
  if (broken_) {
    for (const Outgoing* outgoing : outgoing_) {
      if (outgoing->waiter_.handle) sent_.push_back(outgoing->waiter_);
    }
    outgoing_.clear();
    blocked_ = false;
  }
  const Transfer received = receiver_ != nullptr ? Receive() : Transfer::kWait;
  // Those who are resumed may send more, and the last of them may end the stay, or the channel.
  const std::vector<CoHandle> resumed = std::exchange(sent_, {});
  CoHandle receiver;
  if (received != Transfer::kWait) {
    receiver_->got_ = received == Transfer::kDone ? Got::kBytes : Got::kEnd;
    receiver = std::exchange(receiver_, nullptr)->waiter_;
  } else if (receiver_ != nullptr && !WatchFor(FdEvents::kReadable)) {
    ended_ = true;
    flush_->Schedule();
  }
  for (const CoHandle& waiter : resumed) waiter.Resume();
  if (receiver.handle) receiver.Resume();
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd

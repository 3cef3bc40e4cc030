// SPDX-License-Identifier: Apache-2.0
//
// A disk behind an NBD server's Unix socket: the only way in to a node of qemu-storage-daemon for a client that writes.
// No more of the protocol than that takes: fixed newstyle, NBD_OPT_GO, writes with simple replies.
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

#ifndef JOBCORE_BENCH_LIVE_NBD_DISK_H_
#define JOBCORE_BENCH_LIVE_NBD_DISK_H_

#include <endian.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "live/foreground.h"

namespace jobcore::bench {

[[noreturn]] inline void NbdFailed(const char* what) {
  std::fprintf(stderr, "NBD: %s: %s\n", what, errno != 0 ? std::strerror(errno) : "not as the protocol says");
  std::exit(1);
}

// Numbers in the order of the network, one after the other.
class NbdMessage {
 public:
  NbdMessage& U16(uint16_t value) { return Append(htobe16(value)); }
  NbdMessage& U32(uint32_t value) { return Append(htobe32(value)); }
  NbdMessage& U64(uint64_t value) { return Append(htobe64(value)); }
  NbdMessage& Text(const std::string& text) {
    const auto* const data = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), data, data + text.size());
    return *this;
  }
  std::span<std::byte> bytes() { return bytes_; }

 private:
  template <typename T>
  NbdMessage& Append(T value) {
    const auto* const data = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), data, data + sizeof(value));
    return *this;
  }
  std::vector<std::byte> bytes_;
};

class NbdDisk final : public Disk {
 public:
  // `context` is where writes will be made. Blocks until the server has agreed.
  NbdDisk(AioContext& context, const std::string& socket_path, const std::string& export_name, size_t writers)
      : context_(context), socket_(Connect(socket_path)), waiting_(writers) {
    Negotiate(export_name);
  }
  ~NbdDisk() override { close(socket_); }

  uint64_t size() const override { return size_; }

  // The context's thread: before the first write, and after the last.
  void Open() {
    auto handler =
        FdHandler::Create(context_, "NBD replies", socket_, FdEvents::kReadable, [this](FdEvents) { OnReply(); });
    if (!handler.ok()) NbdFailed("epoll");
    handler_ = *std::move(handler);
  }
  void Close() { handler_.reset(); }

  Co<int> Write(size_t writer, uint64_t offset, std::span<const std::byte> data) override {
    NbdMessage header;
    header.U32(kRequest).U16(0).U16(kWriteCommand).U64(writer).U64(offset).U32(static_cast<uint32_t>(data.size()));
    Send(header.bytes(), data);
    co_return co_await Reply{waiting_[writer]};
  }

 private:
  static constexpr uint64_t kGreeting = 0x4e42444d41474943;  // "NBDMAGIC"
  static constexpr uint64_t kOption = 0x49484156454f5054;    // "IHAVEOPT"
  static constexpr uint64_t kOptionReply = 0x3e889045565a9;
  static constexpr uint32_t kRequest = 0x25609513;
  static constexpr uint32_t kSimpleReply = 0x67446698;
  static constexpr uint32_t kGo = 7;
  static constexpr uint32_t kAcknowledged = 1;
  static constexpr uint32_t kInfo = 3;
  static constexpr uint16_t kInfoOfExport = 0;
  static constexpr uint16_t kWriteCommand = 1;

  struct Waiter {
    CoHandle coroutine;
    int error = 0;
  };
  struct Reply {
    Waiter& waiter;
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> self) {
      waiter.coroutine = CoHandle::Of(self, "an NBD reply");
    }
    int await_resume() const { return waiter.error; }
  };

  static int Connect(const std::string& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    if (fd < 0 || path.size() >= sizeof(address.sun_path)) NbdFailed("socket");
    path.copy(address.sun_path, path.size());
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) NbdFailed("connect");
    return fd;
  }

  void Negotiate(const std::string& export_name) {
    if (ReceiveU64() != kGreeting || ReceiveU64() != kOption) NbdFailed("greeting");
    (void)Receive<uint16_t>();  // flags
    constexpr uint32_t kFixedNewstyleNoZeroes = 3;
    const auto name_bytes = static_cast<uint32_t>(export_name.size());
    NbdMessage go;
    go.U32(kFixedNewstyleNoZeroes).U64(kOption).U32(kGo).U32(name_bytes + 6);
    go.U32(name_bytes).Text(export_name).U16(0);  // no further information asked for
    Send(go.bytes(), {});
    for (;;) {
      if (ReceiveU64() != kOptionReply || ReceiveU32() != kGo) NbdFailed("reply to an option");
      const uint32_t type = ReceiveU32();
      std::vector<std::byte> data(ReceiveU32());
      ReceiveAll(data);
      if (type == kAcknowledged) return;
      if (type != kInfo || data.size() < sizeof(uint16_t)) NbdFailed("NBD_OPT_GO was refused");
      uint16_t what = 0;
      std::memcpy(&what, data.data(), sizeof(what));
      if (be16toh(what) != kInfoOfExport || data.size() < sizeof(what) + sizeof(size_)) continue;
      std::memcpy(&size_, data.data() + sizeof(what), sizeof(size_));
      size_ = be64toh(size_);
    }
  }

  void Send(std::span<std::byte> header, std::span<const std::byte> data) {
    iovec parts[] = {{header.data(), header.size()}, {const_cast<std::byte*>(data.data()), data.size()}};
    msghdr message = {};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    // Blocks if the socket is full, which it is not: a write per writer is all that there is.
    const ssize_t sent = sendmsg(socket_, &message, MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(header.size() + data.size())) NbdFailed("send");
  }

  void ReceiveAll(std::span<std::byte> buffer) {
    if (buffer.empty()) return;
    errno = 0;
    if (recv(socket_, buffer.data(), buffer.size(), MSG_WAITALL) != static_cast<ssize_t>(buffer.size())) {
      NbdFailed("receive");
    }
  }
  template <typename T>
  T Receive() {
    T value = 0;
    ReceiveAll(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  uint32_t ReceiveU32() { return be32toh(Receive<uint32_t>()); }
  uint64_t ReceiveU64() { return be64toh(Receive<uint64_t>()); }

  // One reply, which is there as a whole: the server sends it so. If there are more, this is called again.
  void OnReply() {
    struct {
      uint32_t magic;
      uint32_t error;
      uint64_t writer;
    } reply;
    ReceiveAll(std::as_writable_bytes(std::span(&reply, 1)));
    const uint64_t writer = be64toh(reply.writer);
    if (be32toh(reply.magic) != kSimpleReply || writer >= waiting_.size()) NbdFailed("reply");
    waiting_[writer].error = static_cast<int>(be32toh(reply.error));
    waiting_[writer].coroutine.Resume();
  }

  AioContext& context_;
  const int socket_;
  uint64_t size_ = 0;
  std::vector<Waiter> waiting_;  // of the writer of this number
  std::unique_ptr<FdHandler> handler_;
};

}  // namespace jobcore::bench

#endif  // JOBCORE_BENCH_LIVE_NBD_DISK_H_

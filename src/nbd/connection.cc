// SPDX-License-Identifier: Apache-2.0

#include "nbd/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "job-common/job_core.h"
#include "job-driver/block/node.h"
#include "job-driver/block/node_edge.h"
#include "nbd/server_state.h"

namespace jobcore::inline JOBCORE_ABI::nbd {
namespace {

using block::NodeWrite;
using wire::Chunk;
using wire::Command;
using Entry = block::NodeEdge::Entry;

// From so many bytes on it pays to ask for holes before reading.
constexpr uint32_t kAskForHoles = 64 * 1024;
// Parts of a read, and of an answer about what is stored: a look at a node's map may take a moment, and others wait.
constexpr size_t kMaxExtents = 64;
constexpr size_t kMaxDescriptors = 256;

// That take memory while the request is served.
size_t PayloadOf(const wire::Request& request) {
  return request.is(Command::kRead) || request.is(Command::kWrite) ? request.length : 0;
}

void PutChunkHeader(Outgoing& out, const wire::Request& request, Chunk type, bool done, size_t payload) {
  std::byte* at = wire::Store(out.head.data(), wire::kStructuredReplyMagic);
  at = wire::Store(at, done ? wire::kReplyDone : uint16_t{0});
  at = wire::Store(at, static_cast<uint16_t>(type));
  at = wire::Store(at, request.cookie);
  wire::Store(at, static_cast<uint32_t>(payload));
  out.head_size = wire::kChunkHeaderSize;
}

template <std::unsigned_integral T>
void PutNumber(Outgoing& out, T value) {
  wire::Store(out.head.data() + out.head_size, value);
  out.head_size += sizeof(T);
}

Outgoing SimpleReply(const wire::Request& request, wire::Error error) {
  Outgoing out;
  PutNumber(out, wire::kSimpleReplyMagic);
  PutNumber(out, static_cast<uint32_t>(error));
  PutNumber(out, request.cookie);
  return out;
}

Outgoing ErrorChunk(const wire::Request& request, wire::Error error, std::string_view why) {
  Outgoing out;
  PutChunkHeader(out, request, Chunk::kError, true, sizeof(uint32_t) + sizeof(uint16_t) + why.size());
  PutNumber(out, static_cast<uint32_t>(error));
  PutNumber(out, static_cast<uint16_t>(why.size()));
  out.payload = std::as_bytes(std::span(why));
  return out;
}

NodeWrite WriteOf(const wire::Request& request, std::span<const std::byte> data) {
  NodeWrite write = {.offset = request.offset, .length = request.length};
  if (request.is(Command::kWrite)) {
    write.data = data;
  } else if (request.is(Command::kTrim)) {
    write.kind = NodeWrite::Kind::kDiscard;
  } else {
    write.kind = NodeWrite::Kind::kZeroes;
    write.may_unmap = (request.flags & wire::kFlagNoHole) == 0;
  }
  return write;
}

}  // namespace

// The exports of a server, as one client sees them.
class Connection::Claims final : public Catalog {
 public:
  explicit Claims(Connection& connection) : connection_(connection) {}

  std::vector<ExportFacts> List() override {
    std::vector<ExportFacts> list;
    for (const std::shared_ptr<Export>& each : connection_.server_->All()) {
      if (std::optional<ExportFacts> facts = each->Facts()) list.push_back(*std::move(facts));
    }
    return list;
  }
  std::optional<ExportFacts> Find(std::string_view name) override {
    const std::shared_ptr<Export> found = connection_.server_->Find(name);
    return found != nullptr ? found->Facts() : std::nullopt;
  }
  std::optional<ExportFacts> Claim(std::string_view name) override {
    std::shared_ptr<Export> found = connection_.server_->Find(name);
    if (found == nullptr) return std::nullopt;
    std::optional<ExportFacts> facts = found->Join(connection_.shared_from_this());
    if (!facts) return std::nullopt;
    connection_.export_ = std::move(found);
    connection_.facts_ = *facts;
    return facts;
  }

 private:
  Connection& connection_;
};

Connection::Connection(std::shared_ptr<ServerState> server, internal::UniqueFd socket)
    : server_(std::move(server)), channel_(std::move(socket)) {}

void Connection::Close() { (void)shutdown(channel_.fd(), SHUT_RDWR); }

void Connection::GoHome() {
  go_home_.store(true);
  std::shared_ptr<AioContext> here;
  {
    const std::lock_guard lock(mutex_);
    here = context_;
  }
  if (here == nullptr) return;  // it looks where it is to be before it goes anywhere
  here->Post("NBD connection", [self = shared_from_this(), at = here.get()] {
    {
      const std::lock_guard lock(self->mutex_);
      if (self->context_.get() != at) return;  // it has left
    }
    self->channel_.Interrupt();
  });
}

// --- Handshake ---

void Connection::Start() { Spawn("NBD handshake", Handshake(shared_from_this())); }

Co<void> Connection::Handshake([[maybe_unused]] std::shared_ptr<Connection> self) {
  AioContext& main = server_->main();
  AioTimer deadline(main, "NBD handshake", [this] { Close(); });
  const Nanoseconds timeout = server_->handshake_timeout();
  if (timeout > Nanoseconds::zero()) deadline.ArmAt(SaturatingAdd(main.clock().Now(), timeout));
  bool chosen = false;
  if (channel_.Enter().ok()) chosen = co_await Negotiate();
  deadline.Disarm();
  channel_.Leave();
  if (chosen) chosen = MoveHome();
  if (!chosen) End();
}

Co<bool> Connection::Negotiate() {
  Claims claims(*this);
  Negotiation negotiation(claims);
  std::string text = Negotiation::Greeting();
  for (;;) {
    if (!text.empty()) {
      Outgoing out;
      out.payload = std::as_bytes(std::span(text));
      const bool sent = co_await channel_.Send(out, /*more=*/false);
      if (!sent) co_return false;
    }
    if (negotiation.state() != Negotiation::State::kTalking) break;
    const Channel::Got got = co_await channel_.Await(negotiation.wanted());
    if (got != Channel::Got::kBytes) co_return false;
    const size_t size = negotiation.wanted();
    text = negotiation.Receive(channel_.Front(size));
    channel_.Drop(size);
  }
  terms_ = negotiation.terms();
  co_return negotiation.state() == Negotiation::State::kTransmission;
}

// --- Stays ---

bool Connection::MoveHome() {
  std::shared_ptr<AioContext> home = export_->home();
  if (!home->TryAddUser()) return false;
  {
    const std::lock_guard lock(mutex_);
    context_ = home;
  }
  // From here on it is there: nothing of it is to be touched any more.
  home->Post("NBD connection",
             [self = shared_from_this()]() JOBCORE_EXCLUDES(job_mutex) { Spawn("NBD connection", self->Serve(self)); });
  return true;
}

bool Connection::IsHome() {
  if (!go_home_.load(std::memory_order_relaxed)) return true;
  go_home_.store(false);
  return export_->home().get() == AioContext::Current();
}

void Connection::End() {
  server_->main().Post("NBD connection", [self = shared_from_this()]() JOBCORE_EXCLUDES(job_mutex) {
    self->server_->OnEnded(self, self->export_);
  });
}

Co<void> Connection::Serve([[maybe_unused]] std::shared_ptr<Connection> self) {
  const std::shared_ptr<AioContext> here = AioContext::Current()->shared_from_this();
  bool more = false;
  tasks_.emplace();
  if (channel_.Enter().ok()) more = co_await ServeRequests();
  co_await tasks_->AtMost(0);
  tasks_.reset();
  channel_.Leave();
  {
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
  }
  // First: once the connection is known to have ended, this thread may be stopped.
  here->RemoveUser();
  if (more) more = MoveHome();
  if (!more) End();
}

Co<bool> Connection::ServeRequests() {
  for (;;) {
    if (channel_.broken()) co_return false;  // whatever he has asked for before he went
    if (!IsHome()) co_return true;
    const Channel::Got got = co_await channel_.Await(wire::kRequestSize);
    if (got == Channel::Got::kInterrupted) continue;
    if (got == Channel::Got::kEnd) co_return false;
    const std::optional<wire::Request> request =
        wire::DecodeRequest(channel_.Front(wire::kRequestSize).first<wire::kRequestSize>());
    channel_.Drop(wire::kRequestSize);
    if (!request) co_return false;
    const Verdict verdict = Judge(*request, facts_, terms_);
    if (verdict.action == Verdict::Action::kHangUp) co_return false;
    Call call = {.request = *request};
    if (verdict.action == Verdict::Action::kServe) {
      const size_t payload = PayloadOf(*request);
      while (tasks_->size() > 0 && payload_in_flight_ + payload > kMaxPayload) {
        co_await tasks_->AtMost(tasks_->size() - 1);
      }
    }
    if (verdict.payload > 0) {
      const bool received = co_await ReceivePayload(verdict, call.data);
      if (!received) co_return false;
    }
    ++at_work_;
    if (verdict.action == Verdict::Action::kServe) {
      payload_in_flight_ += PayloadOf(*request);
      tasks_->Spawn(Run(std::move(call)));
    } else {
      tasks_->Spawn(Reply(*request, verdict.error, verdict.why));
    }
    if (verdict.action == Verdict::Action::kRefuseAndHangUp) co_return false;
    co_await tasks_->AtMost(kMaxRequests - 1);
  }
}

Co<bool> Connection::ReceivePayload(const Verdict& verdict, BufferPool::Buffer& data) {
  if (verdict.action == Verdict::Action::kServe) {
    data = buffers_.Take(verdict.payload);
    if (!data) co_return false;
    const Channel::Got got = co_await channel_.Fill(data.bytes());
    co_return got == Channel::Got::kBytes;
  }
  for (size_t left = verdict.payload; left > 0;) {  // of no use to anybody
    const size_t size = std::min(left, Channel::kBuffer);
    const Channel::Got got = co_await channel_.Await(size);
    if (got == Channel::Got::kEnd) co_return false;
    if (got == Channel::Got::kInterrupted) continue;
    channel_.Drop(size);
    left -= size;
  }
  co_return true;
}

// --- Requests ---

Co<void> Connection::Run(Call call) {
  const wire::Request& request = call.request;
  if (request.is(Command::kRead)) {
    co_await Read(request);
  } else if (request.is(Command::kBlockStatus)) {
    co_await BlockStatus(request);
  } else {
    int error = 0;
    if (request.is(Command::kFlush)) {
      error = co_await Flush();
    } else {
      error = co_await Change(call);
    }
    call.data = {};
    co_await Reply(request, wire::ErrorOf(error), "the request has failed");
  }
  payload_in_flight_ -= PayloadOf(request);
}

Co<void> Connection::Read(const wire::Request& request) {
  Extents extents;
  BufferPool::Buffer data;
  const int error = co_await ReadExtents(request, extents, data);
  if (error != 0) {
    data = {};
    co_await Reply(request, wire::ErrorOf(error), "the read has failed");
    co_return;
  }
  if (!terms_.structured) {
    Outgoing out = SimpleReply(request, wire::Error::kOk);
    out.payload = data.bytes();
    (void)co_await channel_.Send(out, EndWork());
    co_return;
  }
  if (extents.empty()) {  // of no bytes
    Outgoing out;
    PutChunkHeader(out, request, Chunk::kNone, true, 0);
    (void)co_await channel_.Send(out, EndWork());
    co_return;
  }
  absl::InlinedVector<Outgoing, 4> chunks(extents.size());
  for (size_t i = 0; i < extents.size(); ++i) {
    const Extent& extent = extents[i];
    Outgoing& out = chunks[i];
    const bool last = i + 1 == extents.size();
    if (extent.zero) {
      PutChunkHeader(out, request, Chunk::kOffsetHole, last, sizeof(uint64_t) + sizeof(uint32_t));
      PutNumber(out, extent.offset);
      PutNumber(out, static_cast<uint32_t>(extent.length));
    } else {
      PutChunkHeader(out, request, Chunk::kOffsetData, last, sizeof(uint64_t) + extent.length);
      PutNumber(out, extent.offset);
      out.payload = data.bytes().subspan(extent.offset - request.offset, extent.length);
    }
    if (!last) channel_.Prepend(out);
  }
  (void)co_await channel_.Send(chunks.back(), EndWork());
}

Co<int> Connection::ReadExtents(const wire::Request& request, Extents& extents, BufferPool::Buffer& data) {
  const uint64_t end = request.offset + request.length;
  const auto add = [&extents](uint64_t offset, uint64_t length, bool zero) {
    if (!extents.empty() && extents.back().zero == zero) {
      extents.back().length += length;
    } else if (length > 0) {
      extents.push_back({.offset = offset, .length = length, .zero = zero});
    }
  };
  const Entry entry = co_await export_->edge().Enter();
  uint64_t at = request.offset;
  const bool may_split = terms_.structured && (request.flags & wire::kFlagDf) == 0;
  if (may_split && request.length >= kAskForHoles) {
    while (at < end && extents.size() < kMaxExtents) {
      const absl::StatusOr<block::BlockStatus> status = co_await entry.node->Status(entry.in, at, end - at);
      if (!status.ok()) break;  // reading will tell
      add(at, status->length, status->zero);
      at += status->length;
    }
  }
  add(at, end - at, false);
  if (std::none_of(extents.begin(), extents.end(), [](const Extent& e) { return !e.zero; })) co_return 0;
  data = buffers_.Take(request.length);
  if (!data) co_return ENOMEM;
  for (const Extent& extent : extents) {
    if (extent.zero) continue;
    const std::span<std::byte> target = data.bytes().subspan(extent.offset - request.offset, extent.length);
    const int error = co_await entry.node->Read(entry.in, extent.offset, target);
    if (error != 0) co_return error;
  }
  co_return 0;
}

Co<int> Connection::Change(const Call& call) {
  const wire::Request& request = call.request;
  const Entry entry = co_await export_->edge().Enter();
  if (request.length > 0) {
    const NodeWrite write = WriteOf(request, call.data.bytes());
    const int error = co_await entry.node->Change(entry.in, write);
    if (error != 0) co_return error;
  }
  if ((request.flags & wire::kFlagFua) == 0) co_return 0;
  co_return co_await entry.node->Flush(entry.in);
}

Co<int> Connection::Flush() {
  const Entry entry = co_await export_->edge().Enter();
  co_return co_await entry.node->Flush(entry.in);
}

Co<void> Connection::BlockStatus(const wire::Request& request) {
  struct Descriptor {
    uint64_t length;
    uint32_t flags;
  };
  const size_t most = (request.flags & wire::kFlagReqOne) != 0 ? 1 : kMaxDescriptors;
  std::vector<Descriptor> found;
  {
    const Entry entry = co_await export_->edge().Enter();
    const uint64_t end = request.offset + request.length;
    uint64_t at = request.offset;
    for (size_t looks = 0; at < end && looks < kMaxDescriptors; ++looks) {
      const absl::StatusOr<block::BlockStatus> status = co_await entry.node->Status(entry.in, at, end - at);
      // Nothing is known: that is always right.
      const block::BlockStatus known = status.ok() ? *status : block::BlockStatus{.length = end - at};
      const uint32_t flags = (known.stored ? 0 : wire::kStateHole) | (known.zero ? wire::kStateZero : 0);
      if (found.empty() || found.back().flags != flags) {
        if (found.size() == most) break;
        found.push_back({.length = 0, .flags = flags});
      }
      found.back().length += known.length;
      at += known.length;
    }
  }
  std::string payload;
  for (const Descriptor& descriptor : found) {
    wire::Put(payload, static_cast<uint32_t>(descriptor.length));
    wire::Put(payload, descriptor.flags);
  }
  Outgoing out;
  PutChunkHeader(out, request, Chunk::kBlockStatus, true, sizeof(uint32_t) + payload.size());
  PutNumber(out, wire::kBaseAllocationId);
  out.payload = std::as_bytes(std::span(payload));
  (void)co_await channel_.Send(out, EndWork());
}

Co<void> Connection::Reply(wire::Request request, wire::Error error, const char* why) {
  Outgoing out =
      error != wire::Error::kOk && terms_.structured ? ErrorChunk(request, error, why) : SimpleReply(request, error);
  (void)co_await channel_.Send(out, EndWork());
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd

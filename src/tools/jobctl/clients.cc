// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/clients.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/delay.h"
#include "block/file_error.h"
#include "job-common/aio_wait.h"
#include "job-driver/block/node_edge.h"
#include "tools/jobctl/numbered_block.h"

namespace jobctl {

using namespace jobcore;
using block::Node;
using block::NodeEdge;
using internal::Quoted;

std::string ToString(const ClientReport& report) {
  const std::string written =
      report.on_target == 0
          ? absl::StrCat("writers: ", report.on_source, " writes acknowledged, no switch-over; ")
          : absl::StrCat("writers: ", report.on_source, " writes acknowledged before the switch-over, ",
                         report.on_target, " after it; ");
  if (report.lost > 0) return absl::StrCat(written, report.lost, " of ", report.blocks, " blocks lost");
  return absl::StrCat(written, "all ", report.blocks, " blocks found in ", Quoted(report.image));
}

namespace {

// Between two writes of a client: a mirror can only become ready if it copies faster than clients write.
constexpr Nanoseconds kPause = std::chrono::milliseconds(1);
// In a row, before it goes elsewhere.
constexpr uint64_t kRun = 16;
// After the job has ended.
constexpr int kLastWrites = 64;

}  // namespace

// Has a part of the image for itself, so that what is in a block is what was acknowledged to it last.
class Clients::Client {
 public:
  struct Part {
    uint64_t first;  // blocks
    uint64_t count;
  };

  Client(Clients& all, std::unique_ptr<NodeEdge> edge, Part part, uint64_t run, unsigned seed)
      : all_(all),
        main_(all.core_.main_context()),
        context_(all.source_.node->context()),
        edge_(std::move(edge)),
        part_(part),
        run_(run),
        random_(seed) {}

  void Start() {
    context_->Post("client", [this] { Spawn("client", Run()); });
  }
  void Finish() { finishing_.store(true, std::memory_order_relaxed); }

  // --- When it has stopped ---
  std::shared_ptr<Node> node() const { return edge_->node(); }
  const Ledger& on_source() const { return on_source_; }
  const Ledger& on_target() const { return on_target_; }
  uint64_t writes_to_source() const { return writes_to_source_; }
  uint64_t writes_to_target() const { return writes_to_target_; }
  const std::string& wrong() const { return wrong_; }

 private:
  Co<void> Run() JOBCORE_EXCLUDES(job_mutex) {
    for (int left = kLastWrites; left > 0 && wrong_.empty();) {
      co_await WriteNext();
      if (finishing_.load(std::memory_order_relaxed)) --left;
      co_await block::Delay(kPause);
    }
    main_.Post("client ends", [this] { --all_.running_; });
  }

  Co<void> WriteNext() JOBCORE_EXCLUDES(job_mutex) {
    const uint64_t offset = NextBlock() * kBlockBytes;
    const uint64_t number = ++number_;
    FillBlock({.run = run_, .offset = offset, .number = number}, block_);
    const NodeEdge::Entry entry = co_await edge_->Enter();
    const int error = co_await entry.node->Write(entry.in, offset, block_);
    const bool switched = entry.node == all_.target_.node;
    if (error != 0) {
      const std::string& filename = switched ? all_.target_.filename : all_.source_.filename;
      wrong_ = internal::FileErrorAt("a client cannot write", filename, offset, error).ToString();
      co_return;
    }
    ++(switched ? writes_to_target_ : writes_to_source_);
    (switched ? on_target_ : on_source_)[offset] = {.number = number, .crc = Crc32(block_)};
  }

  uint64_t NextBlock() {
    if (number_ % kRun == 0 || ++block_index_ == part_.count) block_index_ = random_() % part_.count;
    return part_.first + block_index_;
  }

  Clients& all_;
  AioContext& main_;
  const std::shared_ptr<AioContext> context_;
  const std::unique_ptr<NodeEdge> edge_;
  const Part part_;
  const uint64_t run_;
  std::atomic<bool> finishing_{false};

  // --- The context's, until it has stopped ---
  std::mt19937_64 random_;
  alignas(kBlockBytes) std::array<std::byte, kBlockBytes> block_{};
  uint64_t number_ = 0;
  uint64_t block_index_ = 0;  // in its part
  uint64_t writes_to_source_ = 0;
  uint64_t writes_to_target_ = 0;
  Ledger on_source_;
  Ledger on_target_;
  std::string wrong_;
};

Clients::Clients(JobCore& core, Side source, Side target)
    : core_(core), source_(std::move(source)), target_(std::move(target)) {}
Clients::~Clients() { Stop(); }

absl::StatusOr<std::unique_ptr<Clients>> Clients::Create(JobCore& core, Side source, Side target, int count) {
  std::unique_ptr<Clients> all(new Clients(core, std::move(source), std::move(target)));
  Node& node = *all->source_.node;
  const uint64_t blocks = node.size() / kBlockBytes;
  const auto clients = static_cast<uint64_t>(count);
  if (blocks < clients) {
    return absl::InvalidArgumentError(absl::StrCat("source ", Quoted(all->source_.filename), " has ", node.size(),
                                                   " bytes; for ", count, " writers it needs ", clients * kBlockBytes));
  }
  std::random_device entropy;
  const uint64_t run = uint64_t{entropy()} << 32 | entropy();
  for (uint64_t i = 0; i < clients; ++i) {
    absl::StatusOr<std::unique_ptr<NodeEdge>> edge =
        NodeEdge::Attach(all->source_.node, {.user = absl::StrCat("writer ", i), .writes = true});
    if (!edge.ok()) return edge.status();
    const uint64_t first = blocks * i / clients;
    const Client::Part part = {.first = first, .count = blocks * (i + 1) / clients - first};
    all->clients_.push_back(std::make_unique<Client>(*all, *std::move(edge), part, run, entropy()));
  }
  return all;
}

void Clients::Start() {
  running_ = clients_.size();
  for (const auto& client : clients_) client->Start();
}

bool Clients::switched() const { return clients_.front()->node() == target_.node; }

void Clients::Stop() {
  for (const auto& client : clients_) client->Finish();
  AioWaitWhileUnlocked(core_, [this] { return running_ > 0; }, {.name = "the writers"}).IgnoreError();
}

Ledger Clients::Acknowledged() const {
  Ledger ledger;
  for (const auto& client : clients_) {
    for (const auto& [offset, entry] : client->on_source()) ledger[offset] = entry;
    for (const auto& [offset, entry] : client->on_target()) ledger[offset] = entry;
  }
  return ledger;
}

ClientReport Clients::Verify(const std::string& job) {
  const Side& now = switched() ? target_ : source_;
  ClientReport report = {.job = job, .image = now.filename};
  Ledger before;
  for (const auto& client : clients_) {
    report.on_source += client->writes_to_source();
    report.on_target += client->writes_to_target();
    if (report.wrong.empty()) report.wrong = client->wrong();
    before.insert(client->on_source().begin(), client->on_source().end());
  }
  Ledger acknowledged = Acknowledged();
  report.blocks = acknowledged.size();
  bool done = false;
  Spawn("verification", Compare(now.node, std::move(acknowledged), absl::StrCat("lost in ", Quoted(now.filename)),
                                report, report.lost, done));
  AioWaitWhileUnlocked(core_, [&] { return !done; }, {.name = "the verification"}).IgnoreError();
  if (switched()) {
    done = false;
    uint64_t strays = 0;
    Spawn("verification", Compare(source_.node, std::move(before),
                                  absl::StrCat("written to ", Quoted(source_.filename), " after the switch-over"),
                                  report, strays, done));
    AioWaitWhileUnlocked(core_, [&] { return !done; }, {.name = "the verification"}).IgnoreError();
  }
  return report;
}

Co<void> Clients::Compare(std::shared_ptr<Node> node, Ledger ledger, std::string text, ClientReport& report,
                          uint64_t& count, bool& done) {
  struct alignas(kBlockBytes) Block {  // in a coroutine's frame it would not be aligned
    std::array<std::byte, kBlockBytes> bytes{};
  };
  const auto allocated = std::make_unique<Block>();
  const std::span<std::byte> block = allocated->bytes;
  for (const auto& [offset, entry] : ledger) {
    const Admission in = co_await node->resource().Admit();
    const int error = co_await node->Read(in, offset, block);
    if (error == 0 && Crc32(block) == entry.crc) continue;
    ++count;
    if (!report.wrong.empty()) continue;
    report.wrong = absl::StrCat("the block at offset ", offset, ", write ", entry.number, ", is ", text,
                                error == 0 ? "" : ": " + std::generic_category().message(error));
  }
  done = true;
}

}  // namespace jobctl

// SPDX-License-Identifier: Apache-2.0
//
// NbdWriter: an NBD client in a thread of its own that writes numbered, checksummed blocks, and is not reliable: it
// vanishes with requests in flight or in the middle of a payload, stalls there, and connects again.

#ifndef JOBCORE_TESTS_NBD_NBD_WRITER_H_
#define JOBCORE_TESTS_NBD_NBD_WRITER_H_

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nbd/nbd_client.h"

namespace jobcore::nbd {

// Blocks `first`, `first` + `step`, … are its alone. What is in one is what was acknowledged last; if it has vanished
// with a write to it in flight, perhaps that, and then it does not use it any more: nobody knows when that write comes.
class NbdWriter {
 public:
  struct Options {
    std::string socket;
    std::string name;
    uint64_t first = 0;
    uint64_t step = 1;
    size_t blocks = 0;
    uint32_t seed = 1;
    bool reliable = false;
  };
  static constexpr size_t kBlock = 512;

  explicit NbdWriter(Options options)
      : options_(std::move(options)), random_(options_.seed), blocks_(options_.blocks), thread_([this] { Run(); }) {}
  ~NbdWriter() {
    Stop();
    if (thread_.joinable()) thread_.join();
  }

  void Stop() { stop_.store(true); }
  bool running() const { return running_.load(); }
  uint64_t acknowledged() const { return acknowledged_.load(); }
  uint64_t vanished() const { return vanished_.load(); }
  std::string problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
  }
  // What is wrong with this image; empty: nothing. After it has ended.
  std::string Check(const std::vector<std::byte>& image) const {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const std::string_view found(reinterpret_cast<const char*>(image.data()) + OffsetOf(i), kBlock);
      if (found == Content(i, blocks_[i].acknowledged)) continue;
      if (blocks_[i].retired && found == Content(i, blocks_[i].perhaps)) continue;
      uint64_t number = 0;
      std::memcpy(&number, found.data(), sizeof(number));
      return absl::StrCat("writer ", options_.first, ": block at ", OffsetOf(i), " has ", number, " instead of ",
                          blocks_[i].acknowledged, blocks_[i].retired ? " or " : "",
                          blocks_[i].retired ? absl::StrCat(blocks_[i].perhaps) : "");
    }
    return problem();
  }

 private:
  struct Block {
    uint64_t acknowledged = 0;  // 0: as it was: zeros
    uint64_t perhaps = 0;
    bool retired = false;
  };

  uint64_t OffsetOf(size_t i) const { return (options_.first + i * options_.step) * kBlock; }
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  // Each word depends on the number and on the place: no other block, and no mixture of two, looks like it.
  std::string Content(size_t i, uint64_t number) const {
    std::string content(kBlock, '\0');
    if (number == 0) return content;
    std::memcpy(content.data(), &number, sizeof(number));
    uint64_t word = number ^ OffsetOf(i) << 20;
    for (size_t at = sizeof(word); at < kBlock; at += sizeof(word)) {
      word = word * 6364136223846793005u + 1442695040888963407u;
      std::memcpy(content.data() + at, &word, sizeof(word));
    }
    return content;
  }

  void Fail(const std::string& what) {
    const std::lock_guard lock(mutex_);
    if (problem_.empty()) problem_ = absl::StrCat("writer ", options_.first, ": ", what);
  }

  void Run() {
    while (!stop_.load() && problem().empty()) {
      NbdClient client(options_.socket);
      if (!client.connected() || !client.Open(options_.name, Below(2) == 0)) {
        Fail("cannot connect");
        break;
      }
      while (!stop_.load() && Write(client)) {
        if (Below(4) == 0) CheckOne(client);
      }
    }
    running_.store(false);
  }

  // Some blocks at a time. False: it has hung up.
  bool Write(NbdClient& client) {
    std::vector<std::pair<size_t, uint64_t>> writes;  // block, number
    std::string bytes;
    const size_t start = Below(static_cast<uint32_t>(blocks_.size()));
    const size_t count = 1 + Below(6);
    for (size_t n = 0; n < count; ++n) {
      const size_t i = (start + n) % blocks_.size();
      if (blocks_[i].retired) continue;
      writes.emplace_back(i, ++number_);
      bytes += NbdClient::Header(wire::Command::kWrite, OffsetOf(i), kBlock, Below(16) == 0 ? wire::kFlagFua : 0, i);
      bytes += Content(i, number_);
    }
    // Most of its blocks stay in use.
    const bool may_vanish = !options_.reliable && retired_ * 2 < blocks_.size() && Below(40) == 0;
    const size_t sent = may_vanish ? Below(static_cast<uint32_t>(bytes.size() + 1)) : bytes.size();
    const std::string_view all = bytes;
    const size_t stall = sent > 0 ? Below(static_cast<uint32_t>(sent)) : 0;
    if (!client.Send(all.substr(0, stall))) return Lost("the server has hung up");
    std::this_thread::yield();
    if (!client.Send(all.substr(stall, sent - stall))) return Lost("the server has hung up");
    const size_t answers = may_vanish ? Below(static_cast<uint32_t>(writes.size() + 1)) : writes.size();
    // Those that were sent as a whole: others are not answered.
    const size_t whole = sent / (wire::kRequestSize + kBlock);
    std::vector<bool> answered(blocks_.size());
    for (size_t n = 0; n < std::min(answers, whole); ++n) {
      const NbdClient::Answer answer = client.ReceiveAnswer();
      if (!answer.came || answer.error != wire::Error::kOk) return Lost("a write was not acknowledged");
      answered.at(answer.cookie) = true;
    }
    for (const auto& [i, number] : writes) {
      if (answered[i]) {
        blocks_[i].acknowledged = number;
        acknowledged_.fetch_add(1);
      } else {
        blocks_[i].perhaps = number;
        blocks_[i].retired = true;
        ++retired_;
      }
    }
    if (!may_vanish) return true;
    vanished_.fetch_add(1);
    client.HangUp();
    return false;
  }
  bool Lost(const char* what) {
    Fail(what);
    return false;
  }

  void CheckOne(NbdClient& client) {
    const size_t i = Below(static_cast<uint32_t>(blocks_.size()));
    if (blocks_[i].retired) return;
    const NbdClient::Answer answer = client.Read(OffsetOf(i), kBlock);
    if (!answer.came) {
      Fail("a read was not answered");
    } else if (answer.data != Content(i, blocks_[i].acknowledged)) {
      Fail(absl::StrCat("block ", i, " does not have what was acknowledged"));
    }
  }

  const Options options_;
  std::minstd_rand random_;
  std::vector<Block> blocks_;
  size_t retired_ = 0;
  uint64_t number_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{true};
  std::atomic<uint64_t> acknowledged_{0};
  std::atomic<uint64_t> vanished_{0};
  mutable std::mutex mutex_;
  std::string problem_;
  std::thread thread_;  // last
};

}  // namespace jobcore::nbd

#endif  // JOBCORE_TESTS_NBD_NBD_WRITER_H_

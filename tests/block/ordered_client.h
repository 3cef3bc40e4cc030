// SPDX-License-Identifier: Apache-2.0
//
// OrderedClient: a client that makes many requests at a time, and sees whether they enter in the order in which it made
// them.

#ifndef JOBCORE_TESTS_BLOCK_ORDERED_CLIENT_H_
#define JOBCORE_TESTS_BLOCK_ORDERED_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/delay.h"
#include "job-common/aio_context.h"
#include "job-driver/block/node_edge.h"

namespace jobcore::block {

class OrderedClient {
 public:
  struct Options {
    std::shared_ptr<Node> node = nullptr;
    AioContext* context = nullptr;
    uint64_t requests = UINT64_MAX;                     // then it ends
    std::function<uint32_t(uint32_t)> below = nullptr;  // one of 0 … n-1; only its own context
  };

  explicit OrderedClient(Options options)
      : options_(std::move(options)), edge_(*NodeEdge::Attach(options_.node, {.user = "client in order"})) {
    options_.node.reset();
  }

  // --- Only while it does not run, or in its context ---
  void Start() {
    end_ = made_ + options_.requests;
    running_ = true;
    options_.context->Post("client in order", [this] { Spawn("client in order", Run()); });
  }
  bool running() const { return running_ || ended_ != made_; }
  const NodeEdge& edge() const { return *edge_; }
  // What was wrong; empty: nothing so far.
  const std::string& problem() const { return problem_; }

 private:
  Co<void> Run() {
    while (made_ != end_) {
      co_await Delay(Nanoseconds(1 + options_.below(500)));
      for (uint32_t n = 1 + options_.below(3); n > 0 && made_ != end_; --n) Spawn("request in order", Request(made_++));
    }
    running_ = false;
  }
  Co<void> Request(uint64_t number) {
    const NodeEdge::Entry entry = co_await edge_->Enter();
    if (number != entered_ && problem_.empty()) {
      problem_ = absl::StrCat("request ", number, " enters node '", entry.node->name(), "' before request ", entered_);
    }
    ++entered_;
    co_await Delay(Nanoseconds(options_.below(100)));
    ++ended_;
  }

  Options options_;
  const std::unique_ptr<NodeEdge> edge_;
  uint64_t end_ = 0;
  uint64_t made_ = 0;
  uint64_t entered_ = 0;
  uint64_t ended_ = 0;
  bool running_ = false;
  std::string problem_;
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_ORDERED_CLIENT_H_

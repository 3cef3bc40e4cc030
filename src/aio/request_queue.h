// SPDX-License-Identifier: Apache-2.0
//
// RequestQueue: requests in the order in which they came; but of the writes to one file through the page cache, only
// one at a time. The kernel lets them wait for each other, and the threads that wait there, spinning or asleep, take
// processors from those that have something to do: with four threads the same writes take two to three times as much of
// them as with one.

#ifndef JOBCORE_AIO_REQUEST_QUEUE_H_
#define JOBCORE_AIO_REQUEST_QUEUE_H_

#include <deque>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "job-common/fwd.h"
#include "job-common/io_engine.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// One thread at a time.
class RequestQueue {
 public:
  static bool TakesTurns(const IoRequest& request) { return request.cached && request.op == IoRequest::Op::kWrite; }

  // Nothing is to be had at the moment.
  bool empty() const { return ready_.empty(); }

  // True: there is one more to be had. False: it waits for the end of another one's turn.
  bool Push(IoRequest& request) {
    if (TakesTurns(request)) {
      const auto [waiting, has_turn] = waiting_.try_emplace(request.fd);
      if (!has_turn) {
        waiting->second.Append(request);
        return false;
      }
    }
    ready_.push_back(&request);
    return true;
  }

  IoRequest& Pop() {
    IoRequest& request = *ready_.front();
    ready_.pop_front();
    return request;
  }

  // Of a request that takes turns, after Pop, and before its completion: then the descriptor may become another file's.
  // The next one's turn comes behind all that is to be had already.
  void EndTurn(const IoRequest& request) {
    const auto waiting = waiting_.find(request.fd);
    if (IoRequest* const next = waiting->second.TakeFirst(); next != nullptr) {
      ready_.push_back(next);
    } else {
      waiting_.erase(waiting);
    }
  }

 private:
  struct Waiting {
    void Append(IoRequest& request) {
      request.next = nullptr;
      (first != nullptr ? last->next : first) = &request;
      last = &request;
    }
    IoRequest* TakeFirst() { return first != nullptr ? std::exchange(first, first->next) : nullptr; }

    IoRequest* first = nullptr;
    IoRequest* last = nullptr;  // if there is a first
  };

  std::deque<IoRequest*> ready_;
  absl::flat_hash_map<int, Waiting> waiting_;  // of the descriptors to which one has its turn: the others
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_REQUEST_QUEUE_H_

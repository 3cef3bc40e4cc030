// SPDX-License-Identifier: Apache-2.0

#include "aio/request_queue.h"

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "job-common/io_engine.h"

namespace jobcore {
namespace {

using internal::RequestQueue;

class RequestQueueTest : public ::testing::Test {
 protected:
  IoRequest WriteTo(int fd) { return WriteCached(*engine_, fd, 0, data_); }

  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(1);  // of no use here, but a request has one
  const std::array<std::byte, 1> data_ = {};
  RequestQueue queue_;
};

TEST_F(RequestQueueTest, OfTheWritesToOneFileOneAtATimeIsToBeHad) {
  IoRequest first = WriteTo(5);
  IoRequest second = WriteTo(5);
  IoRequest third = WriteTo(5);
  EXPECT_TRUE(queue_.Push(first));
  EXPECT_FALSE(queue_.Push(second));
  EXPECT_FALSE(queue_.Push(third));
  EXPECT_EQ(&queue_.Pop(), &first);
  EXPECT_TRUE(queue_.empty());
  queue_.EndTurn(first);
  EXPECT_EQ(&queue_.Pop(), &second);
  EXPECT_TRUE(queue_.empty());
  IoRequest late = WriteTo(5);
  EXPECT_FALSE(queue_.Push(late)) << "the second one has its turn";
  queue_.EndTurn(second);
  EXPECT_EQ(&queue_.Pop(), &third);
  queue_.EndTurn(third);
  EXPECT_EQ(&queue_.Pop(), &late);
  queue_.EndTurn(late);
  EXPECT_TRUE(queue_.empty());
  EXPECT_TRUE(queue_.Push(first)) << "nobody has a turn any more";
}

TEST_F(RequestQueueTest, NothingElseWaitsForAWrite) {
  std::array<std::byte, 1> in;
  IoRequest write = WriteTo(5);
  IoRequest other_file = WriteTo(6);
  IoRequest read = ReadCached(*engine_, 5, 0, in);
  IoRequest past_the_cache = Write(*engine_, 5, 0, data_);
  IoRequest sync = DataSync(*engine_, 5);
  for (IoRequest* each : {&write, &other_file, &read, &past_the_cache, &sync}) {
    EXPECT_TRUE(queue_.Push(*each));
    EXPECT_EQ(&queue_.Pop(), each);
  }
}

TEST_F(RequestQueueTest, TheNextTurnComesBehindAllThatIsToBeHad) {
  IoRequest first = WriteTo(5);
  IoRequest second = WriteTo(5);
  IoRequest other = WriteTo(6);
  queue_.Push(first);
  queue_.Push(second);
  EXPECT_EQ(&queue_.Pop(), &first);
  queue_.Push(other);
  queue_.EndTurn(first);
  EXPECT_EQ(&queue_.Pop(), &other);
  ASSERT_FALSE(queue_.empty()) << "forgotten";
  EXPECT_EQ(&queue_.Pop(), &second);
}

}  // namespace
}  // namespace jobcore

// SPDX-License-Identifier: Apache-2.0
//
// An IoEngine that completes nothing by itself.

#ifndef JOBCORE_TESTS_SUPPORT_HELD_ENGINE_H_
#define JOBCORE_TESTS_SUPPORT_HELD_ENGINE_H_

#include <cstddef>
#include <deque>
#include <mutex>

#include "gtest/gtest.h"
#include "job-common/io_engine.h"

namespace jobcore::support {

// Any thread.
class HeldEngine final : public IoEngine {
 public:
  ~HeldEngine() override { EXPECT_EQ(held(), 0u) << "requests are still in flight"; }

  void Submit(IoRequest& request) override {
    const std::scoped_lock lock(mutex_);
    held_.push_back(&request);
  }
  size_t held() const {
    const std::scoped_lock lock(mutex_);
    return held_.size();
  }
  // The oldest one succeeds.
  void CompleteOne() {
    IoRequest* request;
    {
      const std::scoped_lock lock(mutex_);
      ASSERT_FALSE(held_.empty());
      request = held_.front();
      held_.pop_front();
    }
    request->Complete({});
  }

 private:
  mutable std::mutex mutex_;
  std::deque<IoRequest*> held_;  // guarded by mutex_
};

}  // namespace jobcore::support

#endif  // JOBCORE_TESTS_SUPPORT_HELD_ENGINE_H_

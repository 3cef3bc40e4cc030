// SPDX-License-Identifier: Apache-2.0
//
// WriteFilter: stands between those who write to a node and the node. How a job learns of what other people write
// while it copies.
//
//   Co<int> Write(const Admission& in, NodeWrite write, Below below) override {
//     …                                                    // before: copy what will be overwritten
//     const int error = co_await below.Write(in, write);
//     …                                                    // after, and before the client is told: note what has
//     changed co_return error;
//   }

#ifndef JOBCORE_JOB_DRIVER_BLOCK_WRITE_FILTER_H_
#define JOBCORE_JOB_DRIVER_BLOCK_WRITE_FILTER_H_

#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

class WriteFilter {
 public:
  // The node below this filter, with the filters in between.
  class Below {
   public:
    virtual Co<int> Write(const Admission& in, NodeWrite write) JOBCORE_EXCLUDES(job_mutex) = 0;

   protected:
    ~Below() = default;
  };

  virtual ~WriteFilter() = default;
  // In the context of whoever writes, several at a time, in any threads. The result is what the client is told.
  // `below` lives until this has returned.
  virtual Co<int> Write(const Admission& in, NodeWrite write, Below& below) JOBCORE_EXCLUDES(job_mutex) = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_WRITE_FILTER_H_

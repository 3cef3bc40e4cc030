// SPDX-License-Identifier: Apache-2.0
//
// EventSource: what one client is sent besides what all are sent, at the pace at which it reads.

#ifndef JOBCORE_QMP_EVENT_SOURCE_H_
#define JOBCORE_QMP_EVENT_SOURCE_H_

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

class EventSource {
 public:
  virtual ~EventSource() = default;
  // Sends what there is, for as long as the session has room for it.
  virtual void Pump() = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_EVENT_SOURCE_H_

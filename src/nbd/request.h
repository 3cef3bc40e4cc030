// SPDX-License-Identifier: Apache-2.0
//
// What is done about a request, as far as it can be told from its header. No I/O.

#ifndef JOBCORE_NBD_REQUEST_H_
#define JOBCORE_NBD_REQUEST_H_

#include <cstdint>

#include "job-common/fwd.h"
#include "nbd/negotiation.h"
#include "nbd/wire.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

// Bytes; clients are told these.
inline constexpr uint32_t kMinBlock = 1;
inline constexpr uint32_t kPreferredBlock = 4096;
inline constexpr uint32_t kMaxPayload = 32u << 20;  // that go along with a request or a reply

struct Verdict {
  enum class Action : unsigned char {
    kServe,
    kRefuse,           // with `error`; the connection goes on
    kRefuseAndHangUp,  // … and does not: what follows cannot be made sense of
    kHangUp,           // as the client asks for
  };
  Action action = Action::kServe;
  wire::Error error = wire::Error::kOk;
  const char* why = "";  // for people
  uint32_t payload = 0;  // bytes that follow, to be received in any case
};

// Of one that came over a connection with these terms to an export with these properties.
Verdict Judge(const wire::Request& request, const ExportFacts& facts, const Terms& terms);

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_REQUEST_H_

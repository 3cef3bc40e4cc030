// SPDX-License-Identifier: Apache-2.0
//
// A request of the wire: {"execute": NAME, "arguments": {…}, "id": ANY}.

#ifndef JOBCORE_QMP_REQUEST_H_
#define JOBCORE_QMP_REQUEST_H_

#include <optional>
#include <string>

#include "job-common/fwd.h"
#include "qmp/error.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

struct Request {
  std::optional<JsonValue> id;  // comes back with the reply, also with that to a bad request
  std::optional<Error> error;   // it is none; the rest is then not to be used
  std::string command;
  JsonObject arguments;
  bool oob = false;  // "exec-oob"
};

// `oob`: has been negotiated.
Request ParseRequest(JsonValue value, bool oob);

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_REQUEST_H_

// SPDX-License-Identifier: Apache-2.0
//
// JSON texts: the only place that knows the JSON library.

#ifndef JOBCORE_QMP_JSON_TEXT_H_
#define JOBCORE_QMP_JSON_TEXT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// One value; InvalidArgument with the text of the wire: "JSON parse error, …". Not deeper than the stack can bear: the
// caller has limited that (MessageFramer).
absl::StatusOr<JsonValue> ParseJson(std::string_view text);

// On one line, in ASCII; what is not UTF-8 becomes U+FFFD.
std::string WriteJson(const JsonValue& value);

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_JSON_TEXT_H_

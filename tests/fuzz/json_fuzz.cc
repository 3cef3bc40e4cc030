// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target of what a monitor reads: the bytes are cut into values, and these are parsed. However the bytes come
// in pieces, the values are the same; and what is written can be read again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "qmp/json_text.h"
#include "qmp/json_value.h"
#include "qmp/message_framer.h"

namespace {

using jobcore::qmp::JsonValue;

std::vector<std::string> Frame(std::string_view bytes, size_t piece) {
  jobcore::qmp::MessageFramer framer({.depth = 64, .bytes = 4096, .tokens = 512});
  std::vector<std::string> texts;
  while (!bytes.empty()) {
    framer.Feed(bytes.substr(0, piece), [&texts](const absl::StatusOr<std::string>& text) {
      texts.push_back(text.ok() ? *text : std::string(text.status().message()) + "!");
    });
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  return texts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> texts = Frame(bytes, bytes.size());
  if (Frame(bytes, 1) != texts) std::abort();
  for (const std::string& text : texts) {
    const absl::StatusOr<JsonValue> value = jobcore::qmp::ParseJson(text);
    if (!value.ok()) continue;
    const std::string written = jobcore::qmp::WriteJson(*value);
    const absl::StatusOr<JsonValue> again = jobcore::qmp::ParseJson(written);
    if (!again.ok() || !(*again == *value)) std::abort();
  }
  return 0;
}

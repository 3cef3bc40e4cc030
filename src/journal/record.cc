// SPDX-License-Identifier: Apache-2.0

#include "job-journal/record.h"

#include <array>
#include <concepts>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::journal {
namespace {

// Of the bytes. A later one may only be read by the program that knows it.
constexpr uint16_t kSchema = 1;

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}();

template <std::unsigned_integral T>
void Put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}
void Put(std::string& out, std::string_view text) {
  Put(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T Take() {
    if (rest_.size() < sizeof(T)) {
      ok_ = false;
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= uint64_t{static_cast<unsigned char>(rest_[i])} << (8 * i);
    rest_.remove_prefix(sizeof(T));
    return static_cast<T>(value);
  }
  std::string TakeText() {
    const auto size = Take<uint32_t>();
    if (rest_.size() < size) {
      ok_ = false;
      return {};
    }
    std::string text(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return text;
  }
  bool AllTaken() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

namespace internal {

uint32_t Crc32c(uint32_t crc, std::string_view bytes) {
  crc = ~crc;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~crc;
}

}  // namespace internal

std::string Encode(const Record& record) {
  std::string out;
  Put(out, kSchema);
  Put(out, record.id.instance);
  Put(out, record.id.number);
  Put(out, record.token);
  Put(out, record.kind);
  Put(out, record.version);
  Put(out, record.phase);
  Put(out, record.allowed);
  Put(out, record.owner_task);
  Put(out, std::string_view(record.owner_api));
  Put(out, record.flags);
  Put(out, static_cast<uint8_t>(record.abort_requested));
  Put(out, static_cast<uint64_t>(record.started.wall_ns));
  Put(out, static_cast<uint64_t>(record.started.boot_ns));
  Put(out, std::string_view(record.started.boot_id));
  Put(out, static_cast<uint8_t>(record.intent.state));
  Put(out, std::string_view(record.intent.what));
  Put(out, record.decision.action);
  Put(out, record.decision.observed);
  Put(out, record.decision.attempts);
  Put(out, std::string_view(record.payload));
  return out;
}

absl::StatusOr<Record> Decode(std::string_view bytes) {
  Reader in(bytes);
  if (const auto schema = in.Take<uint16_t>(); schema != kSchema) {
    if (schema > kSchema) {
      return absl::UnimplementedError(
          absl::StrCat("a record of schema ", schema, ", and this program knows ", kSchema));
    }
    return absl::DataLossError("a record without a schema");
  }
  Record record;
  record.id.instance = in.Take<uint64_t>();
  record.id.number = in.Take<uint64_t>();
  record.token = in.Take<uint64_t>();
  record.kind = in.Take<uint32_t>();
  record.version = in.Take<uint32_t>();
  record.phase = in.Take<uint32_t>();
  record.allowed = in.Take<uint32_t>();
  record.owner_task = in.Take<uint64_t>();
  record.owner_api = in.TakeText();
  record.flags = in.Take<uint64_t>();
  record.abort_requested = in.Take<uint8_t>() != 0;
  record.started.wall_ns = static_cast<int64_t>(in.Take<uint64_t>());
  record.started.boot_ns = static_cast<int64_t>(in.Take<uint64_t>());
  record.started.boot_id = in.TakeText();
  const auto state = in.Take<uint8_t>();
  record.intent.state = static_cast<Intent::State>(state);
  record.intent.what = in.TakeText();
  record.decision.action = in.Take<uint8_t>();
  record.decision.observed = in.Take<uint8_t>();
  record.decision.attempts = in.Take<uint8_t>();
  record.payload = in.TakeText();
  if (!in.AllTaken() || state > static_cast<uint8_t>(Intent::State::kDone)) {
    return absl::DataLossError("a record of the wrong length, or with an intent in no known state");
  }
  return record;
}

uint32_t Checksum(const Record& record, std::string_view bytes) {
  std::string beside;
  Put(beside, std::string_view(record.key.object));
  Put(beside, static_cast<uint8_t>(record.key.slot));
  Put(beside, std::string_view(record.key.sub));
  Put(beside, record.sequence);
  Put(beside, record.epoch);
  return internal::Crc32c(internal::Crc32c(0, beside), bytes);
}

}  // namespace jobcore::inline JOBCORE_ABI::journal

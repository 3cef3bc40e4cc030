// SPDX-License-Identifier: Apache-2.0
//
// Negotiation: the server's side of the handshake, without I/O: bytes in, bytes out.
//
//   Negotiation negotiation(catalog);
//   std::string out = negotiation.Greeting();
//   while (negotiation.state() == kTalking) {
//     … send `out`; receive negotiation.wanted() bytes …
//     out = negotiation.Receive(bytes);
//   }
//   … send `out`; then go on to transmission, or hang up …

#ifndef JOBCORE_NBD_NEGOTIATION_H_
#define JOBCORE_NBD_NEGOTIATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/fwd.h"
#include "nbd/wire.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

// What a client is told of an export.
struct ExportFacts {
  std::string name;
  std::string description;
  uint64_t size = 0;  // bytes
  bool writable = false;
};

// Where a negotiation finds exports. The names that clients send are whatever they like.
class Catalog {
 public:
  virtual std::vector<ExportFacts> List() = 0;
  virtual std::optional<ExportFacts> Find(std::string_view name) = 0;
  // The same, and the client's from now on. None: there is none, or it is being removed.
  virtual std::optional<ExportFacts> Claim(std::string_view name) = 0;

 protected:
  ~Catalog() = default;
};

// What was agreed upon, for the transmission.
struct Terms {
  bool structured = false;       // replies
  bool base_allocation = false;  // may be asked for
};

class Negotiation {
 public:
  enum class State {
    kTalking,
    kTransmission,  // an export has been claimed
    kHangUp,
  };
  // Longer options are refused, unread. Room for every name, and many queries for metadata contexts.
  static constexpr size_t kMaxOption = 64 * 1024;

  explicit Negotiation(Catalog& catalog) : catalog_(catalog) {}
  Negotiation(const Negotiation&) = delete;
  Negotiation& operator=(const Negotiation&) = delete;

  static std::string Greeting();

  State state() const { return state_; }
  // kTalking: so many bytes are to be received next; at most kMaxOption, and at least 1.
  size_t wanted() const { return wanted_; }
  // Takes so many bytes, and returns what is to be sent.
  std::string Receive(std::span<const std::byte> bytes);

  // kTransmission
  const Terms& terms() const { return terms_; }

  static uint16_t TransmissionFlags(const ExportFacts& facts, bool structured);

 private:
  enum class Step { kClientFlags, kOptionHeader, kOptionData };

  void OnClientFlags(uint32_t flags);
  void OnOptionHeader(std::span<const std::byte> bytes);
  void OnOption(std::span<const std::byte> data);
  void OnExportName(std::string_view name);
  void OnList(std::span<const std::byte> data);
  void OnInfoOrGo(std::span<const std::byte> data);
  void OnMetaContext(std::span<const std::byte> data);
  void AppendExportInfos(const ExportFacts& facts, std::span<const uint16_t> wanted);
  void Reply(wire::OptionReply type, std::string_view payload = {});
  void ReplyInfo(wire::Info info, std::string_view payload);

  Catalog& catalog_;
  State state_ = State::kTalking;
  Step step_ = Step::kClientFlags;
  size_t wanted_ = 4;
  uint32_t option_ = 0;  // that is being received or answered
  bool fixed_ = false;
  bool no_zeroes_ = false;
  Terms terms_;
  std::string context_export_;  // that the metadata context was set for
  std::string out_;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_NEGOTIATION_H_

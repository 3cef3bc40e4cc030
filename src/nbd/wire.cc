// SPDX-License-Identifier: Apache-2.0

#include "nbd/wire.h"

#include <cerrno>

namespace jobcore::inline JOBCORE_ABI::nbd::wire {

Error ErrorOf(int error) {
  switch (error) {
    case 0:
      return Error::kOk;
    case EPERM:
    case EROFS:
    case EACCES:
      return Error::kPerm;
    case ENOMEM:
      return Error::kNoMem;
    case EINVAL:
      return Error::kInval;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Error::kNoSpc;
    case EOVERFLOW:
      return Error::kOverflow;
    case EOPNOTSUPP:
      return Error::kNotSup;
    case ESHUTDOWN:
      return Error::kShutdown;
    default:
      return Error::kIo;
  }
}

std::optional<Request> DecodeRequest(std::span<const std::byte, kRequestSize> bytes) {
  Reader reader(bytes);
  if (reader.Number<uint32_t>() != kRequestMagic) return std::nullopt;
  Request request;
  request.flags = reader.Number<uint16_t>();
  request.command = reader.Number<uint16_t>();
  request.cookie = reader.Number<uint64_t>();
  request.offset = reader.Number<uint64_t>();
  request.length = reader.Number<uint32_t>();
  return request;
}

void EncodeRequest(const Request& request, std::span<std::byte, kRequestSize> bytes) {
  std::byte* at = Store(bytes.data(), kRequestMagic);
  at = Store(at, request.flags);
  at = Store(at, request.command);
  at = Store(at, request.cookie);
  at = Store(at, request.offset);
  Store(at, request.length);
}

std::optional<OptionHeader> DecodeOptionHeader(std::span<const std::byte, kOptionHeaderSize> bytes) {
  Reader reader(bytes);
  if (reader.Number<uint64_t>() != kOptionMagic) return std::nullopt;
  OptionHeader header;
  header.option = reader.Number<uint32_t>();
  header.length = reader.Number<uint32_t>();
  return header;
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd::wire

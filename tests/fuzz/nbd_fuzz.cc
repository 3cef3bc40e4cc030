// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target of the NBD server: the bytes are a client's, from its handshake to its last request.

#include <cstddef>
#include <cstdint>
#include <span>

#include "nbd/random_talk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  jobcore::nbd::RandomTalk::Run(std::as_bytes(std::span(data, size)));
  return 0;
}

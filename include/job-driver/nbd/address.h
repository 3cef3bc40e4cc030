// SPDX-License-Identifier: Apache-2.0
//
// Where an NBD server listens.

#ifndef JOBCORE_JOB_DRIVER_NBD_ADDRESS_H_
#define JOBCORE_JOB_DRIVER_NBD_ADDRESS_H_

#include <string>
#include <utility>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

struct Address {
  // A socket of this name in the file system.
  static Address Unix(std::string path) { return {.path = std::move(path), .host = {}, .port = {}}; }
  // TCP. `host`: a name or a number; "": the loopback. `port`: a number or a service; "0": one that is free.
  static Address Inet(std::string host, std::string port) {
    return {.path = {}, .host = std::move(host), .port = std::move(port)};
  }
  bool is_unix() const { return !path.empty(); }
  // As an NBD URI without an export: "nbd+unix:///?socket=/tmp/nbd.sock", "nbd://127.0.0.1:10809".
  std::string ToString() const;

  std::string path;
  std::string host;
  std::string port;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_JOB_DRIVER_NBD_ADDRESS_H_

// SPDX-License-Identifier: Apache-2.0
//
// Listener: a socket at which clients connect.

#ifndef JOBCORE_NBD_LISTENER_H_
#define JOBCORE_NBD_LISTENER_H_

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/fwd.h"
#include "job-driver/nbd/address.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

class Listener {
 public:
  // See Server::Start.
  static absl::StatusOr<Listener> Open(const Address& address);
  Listener(Listener&&) = default;
  Listener& operator=(Listener&&) = delete;
  // Removes its name from the file system, if it is still its own.
  ~Listener();

  const Address& address() const { return address_; }
  int fd() const { return socket_.get(); }
  // One that waits to be accepted, or an errno: EAGAIN: there is none now.
  int Accept(internal::UniqueFd& connection) const;

 private:
  static absl::StatusOr<Listener> OpenUnix(const Address& address);
  static absl::StatusOr<Listener> OpenInet(const Address& address);
  Listener(internal::UniqueFd socket, Address address) : socket_(std::move(socket)), address_(std::move(address)) {}

  internal::UniqueFd socket_;
  Address address_;
  dev_t device_ = 0;  // of the name that was made
  ino_t inode_ = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd

#endif  // JOBCORE_NBD_LISTENER_H_

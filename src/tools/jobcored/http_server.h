// SPDX-License-Identifier: Apache-2.0
//
// HttpServer: answers GET for one path, as much of HTTP as a collector of metrics needs. A request, an answer, and the
// connection ends.

#ifndef JOBCORE_TOOLS_JOBCORED_HTTP_SERVER_H_
#define JOBCORE_TOOLS_JOBCORED_HTTP_SERVER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/aio_context.h"
#include "qmp/unix_socket.h"

namespace jobcored {

// All on the context's home thread. Bounded: in clients, in what they may ask, and in how long they may take.
class HttpServer {
 public:
  // What is at the path now; text/plain.
  using Page = absl::AnyInvocable<std::string()>;

  // `address`: "unix:PATH" or "127.0.0.1:PORT", a number; "0": a free one. InvalidArgument: it is neither.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(jobcore::AioContext& context, const std::string& address,
                                                            std::string_view path, Page page);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens in fact.
  const std::string& address() const { return address_; }

 private:
  class Client;

  HttpServer(jobcore::AioContext& context, std::string path, Page page);
  absl::Status Open(const std::string& address);
  int fd() const { return unix_ ? unix_->fd() : port_.get(); }
  void Accept();
  std::string Answer(std::string_view request);
  void Sweep();

  jobcore::AioContext& context_;
  const std::string path_;
  Page page_;
  std::string address_;
  std::optional<jobcore::qmp::UnixListener> unix_;
  jobcore::internal::UniqueFd port_;  // one of these two
  std::unique_ptr<jobcore::FdHandler> handler_;
  jobcore::AioTimer retry_;    // to accept, after there was nothing to accept with
  jobcore::BottomHalf sweep_;  // clients end inside their own callbacks: they are removed later
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_HTTP_SERVER_H_

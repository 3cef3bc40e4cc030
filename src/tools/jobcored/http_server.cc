// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"

namespace jobcored {

using jobcore::FdEvents;
using jobcore::FdHandler;
using jobcore::internal::Quoted;
using jobcore::internal::ToAbsl;
using jobcore::internal::UniqueFd;

namespace {

constexpr size_t kMaxClients = 16;
constexpr size_t kMaxRequest = 8192;
constexpr auto kMaxTime = std::chrono::seconds(10);
constexpr auto kRetryTime = std::chrono::seconds(1);

std::string Response(std::string_view status, std::string_view more, std::string_view body) {
  return absl::StrCat("HTTP/1.1 ", ToAbsl(status), "\r\n", ToAbsl(more), "Content-Length: ", body.size(),
                      "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nConnection: close\r\n\r\n",
                      ToAbsl(body));
}

absl::StatusOr<UniqueFd> ListenOnPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  uint32_t port = 0;
  if (colon == std::string::npos || inet_pton(AF_INET, address.substr(0, colon).c_str(), &name.sin_addr) != 1 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port > UINT16_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(address), " is neither unix:PATH nor 127.0.0.1:PORT"));
  }
  name.sin_port = htons(static_cast<uint16_t>(port));
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  constexpr int kOn = 1;
  if (!socket || setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      listen(socket.get(), SOMAXCONN) != 0) {
    return jobcore::internal::FileError("cannot listen on", address, errno);
  }
  return socket;
}

// With the port that it has been given.
std::string NameOf(const UniqueFd& socket) {
  sockaddr_in name = {};
  socklen_t size = sizeof name;
  std::array<char, INET_ADDRSTRLEN> host{};
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0 ||
      inet_ntop(AF_INET, &name.sin_addr, host.data(), host.size()) == nullptr) {
    return "";
  }
  return absl::StrCat(host.data(), ":", ntohs(name.sin_port));
}

}  // namespace

class HttpServer::Client {
 public:
  Client(HttpServer& server, UniqueFd socket)
      : server_(server), socket_(std::move(socket)), patience_(server.context_, "metrics client", [this] { Close(); }) {
    auto handler = FdHandler::Create(server.context_, "metrics client", socket_.get(), FdEvents::kReadable,
                                     [this](FdEvents) { OnSocket(); });
    if (!handler.ok()) {
      Close();
      return;
    }
    handler_ = *std::move(handler);
    patience_.ArmAt(server.context_.clock().Now() + kMaxTime);
  }
  bool closed() const { return handler_ == nullptr; }

 private:
  void OnSocket() {
    if (closed()) return;
    if (answer_.empty() && !Read()) return;
    while (sent_ < answer_.size()) {
      const ssize_t n =
          send(socket_.get(), answer_.data() + sent_, answer_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN && handler_->SetInterest(FdEvents::kWritable).ok()) return;
      if (n < 0) break;
      sent_ += static_cast<size_t>(n);
    }
    Close();
  }
  // Whether there is an answer now.
  bool Read() {
    std::array<char, 4096> buffer;
    const ssize_t n = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) {
      Close();
      return false;
    }
    request_.append(buffer.data(), static_cast<size_t>(n));
    const bool whole = request_.find("\r\n\r\n") != std::string::npos || request_.find("\n\n") != std::string::npos;
    if (!whole && request_.size() <= kMaxRequest) return false;
    answer_ = whole ? server_.Answer(request_) : Response("431 Request Header Fields Too Large", "", "");
    return true;
  }
  void Close() {
    patience_.Disarm();
    handler_.reset();
    socket_ = UniqueFd();
    server_.sweep_.Schedule();
  }

  HttpServer& server_;
  UniqueFd socket_;
  jobcore::AioTimer patience_;
  std::unique_ptr<FdHandler> handler_;  // null: closed
  std::string request_;
  std::string answer_;
  size_t sent_ = 0;
};

HttpServer::HttpServer(jobcore::AioContext& context, std::string path, Page page)
    : context_(context),
      path_(std::move(path)),
      page_(std::move(page)),
      retry_(context, "metrics socket", [this] { (void)handler_->SetInterest(FdEvents::kReadable); }),
      sweep_(context, "metrics clients", [this] { Sweep(); }) {}

HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(jobcore::AioContext& context, const std::string& address,
                                                               std::string_view path, Page page) {
  std::unique_ptr<HttpServer> server(new HttpServer(context, std::string(path), std::move(page)));
  if (absl::Status s = server->Open(address); !s.ok()) return s;
  return server;
}

absl::Status HttpServer::Open(const std::string& address) {
  constexpr std::string_view kUnix = "unix:";
  const bool is_unix = address.starts_with(kUnix);
  if (is_unix) {
    absl::StatusOr<jobcore::qmp::UnixListener> listener =
        jobcore::qmp::UnixListener::Open(address.substr(kUnix.size()));
    if (!listener.ok()) return listener.status();
    unix_.emplace(*std::move(listener));
    address_ = address;
  } else {
    absl::StatusOr<UniqueFd> socket = ListenOnPort(address);
    if (!socket.ok()) return socket.status();
    port_ = *std::move(socket);
    address_ = NameOf(port_);
  }
  absl::StatusOr<std::unique_ptr<FdHandler>> handler =
      FdHandler::Create(context_, "metrics socket", fd(), FdEvents::kReadable, [this](FdEvents) { Accept(); });
  if (!handler.ok()) return handler.status();
  handler_ = *std::move(handler);
  return absl::OkStatus();
}

void HttpServer::Accept() {
  // Who is too many is told by the end of the connection; a collector comes again.
  UniqueFd client(accept4(fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!client && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
    // It stays in the queue: we would be called again at once.
    (void)handler_->SetInterest(FdEvents::kNone);
    retry_.ArmAt(context_.clock().Now() + kRetryTime);
  }
  if (!client || clients_.size() >= kMaxClients) return;
  clients_.push_back(std::make_unique<Client>(*this, std::move(client)));
}

void HttpServer::Sweep() {
  std::erase_if(clients_, [](const std::unique_ptr<Client>& client) { return client->closed(); });
}

// "GET /metrics HTTP/1.1": the rest of the request changes nothing.
std::string HttpServer::Answer(std::string_view request) {
  const std::string_view line = request.substr(0, request.find_first_of("\r\n"));
  const size_t method_end = line.find(' ');
  const size_t target_end = line.find(' ', method_end + 1);
  if (method_end == std::string_view::npos || target_end == std::string_view::npos ||
      !line.substr(target_end + 1).starts_with("HTTP/")) {
    return Response("400 Bad Request", "", "");
  }
  if (line.substr(0, method_end) != "GET") return Response("405 Method Not Allowed", "Allow: GET\r\n", "");
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  if (target.substr(0, target.find('?')) != path_) return Response("404 Not Found", "", "");
  return Response("200 OK", "", page_());
}

}  // namespace jobcored

// SPDX-License-Identifier: Apache-2.0

#include "job-driver/nbd/server.h"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "nbd/connection.h"
#include "nbd/server_state.h"

namespace jobcore::inline JOBCORE_ABI::nbd {

// --- Server ---

Server::Server(std::shared_ptr<ServerState> state) : state_(std::move(state)) {}

Server::~Server() {
  if (!stopped())
    internal::Die(absl::StrCat("NBD server at ", address().ToString(), " destroyed before it has stopped"));
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(JobCore& core, Options options) {
  absl::StatusOr<Listener> listener = Listener::Open(options.address);
  if (!listener.ok()) return listener.status();
  const auto state = std::make_shared<ServerState>(core, std::move(options), *std::move(listener));
  state->Start();
  return std::unique_ptr<Server>(new Server(state));
}

const Address& Server::address() const { return state_->address(); }
absl::Status Server::Add(ExportOptions options) { return state_->Add(std::move(options)); }
absl::Status Server::Remove(std::string_view id, RemoveMode mode) { return state_->Remove(id, mode); }
std::vector<ExportInfo> Server::Exports() const { return state_->Exports(); }
int Server::connections() const { return state_->connections(); }
void Server::Shutdown() { state_->Shutdown(); }
bool Server::stopped() const { return state_->stopped(); }

// --- ServerState: any thread ---

void ServerState::Start() {
  main().Post("NBD server", [self = shared_from_this()] { self->Listen(); });
}

void ServerState::Shutdown() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
  }
  main().Post("NBD server", [self = shared_from_this()]() JOBCORE_EXCLUDES(job_mutex) {
    self->StopListening();
    for (const std::shared_ptr<Export>& each : self->All()) (void)self->Remove(each->id(), RemoveMode::kHard);
    self->CheckStopped();
  });
}

absl::Status ServerState::Add(ExportOptions options) {
  absl::StatusOr<std::shared_ptr<Export>> made = Export::Create(std::move(options));
  if (!made.ok()) return made.status();
  absl::Status refusal;
  {
    const std::lock_guard lock(mutex_);
    const std::string& id = (*made)->id();
    if (stopping_) {
      refusal = absl::FailedPreconditionError("The NBD server stops, and takes no more exports");
    } else if (exports_.contains(id)) {
      refusal = absl::AlreadyExistsError(absl::StrCat("There is an export '", id, "' already"));
    } else if (std::any_of(exports_.begin(), exports_.end(), [&](const auto& each) {
                 return each.second->name() == (*made)->name() && each.second->Facts().has_value();
               })) {
      refusal = absl::AlreadyExistsError(
          absl::StrCat("The NBD server already has an export that clients know as '", (*made)->name(), "'"));
    } else {
      exports_.emplace(id, *made);
    }
  }
  if (!refusal.ok()) (*made)->Finish();
  return refusal;
}

absl::Status ServerState::Remove(std::string_view id, RemoveMode mode) {
  std::shared_ptr<Export> found;
  {
    const std::lock_guard lock(mutex_);
    const auto it = exports_.find(id);
    if (it == exports_.end()) {
      return absl::NotFoundError(absl::StrCat("There is no export '", std::string(id), "'"));
    }
    found = it->second;
  }
  const absl::StatusOr<bool> unused = found->Remove(mode);
  if (!unused.ok()) return unused.status();
  if (*unused) {
    main().Post("NBD export",
                [self = shared_from_this(), found]() JOBCORE_EXCLUDES(job_mutex) { self->FinishExport(found); });
  }
  return absl::OkStatus();
}

std::vector<ExportInfo> ServerState::Exports() const {
  const std::vector<std::shared_ptr<Export>> all = All();
  std::vector<ExportInfo> infos;
  infos.reserve(all.size());
  for (const std::shared_ptr<Export>& each : all) infos.push_back(each->info());
  return infos;
}

int ServerState::connections() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(connections_.size());
}

std::vector<std::shared_ptr<Export>> ServerState::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Export>> all;
  all.reserve(exports_.size());
  for (const auto& [id, each] : exports_) all.push_back(each);
  return all;
}

std::shared_ptr<Export> ServerState::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, each] : exports_) {
    if (each->name() == name && each->Facts().has_value()) return each;
  }
  // The default, if there can be no doubt about it.
  return name.empty() && exports_.size() == 1 ? exports_.begin()->second : nullptr;
}

// --- Main context ---

void ServerState::Listen() {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
  absl::StatusOr<std::unique_ptr<FdHandler>> handler =
      FdHandler::Create(main(), "NBD server", listener_->fd(), FdEvents::kReadable, [this](FdEvents) { AcceptAll(); });
  if (!handler.ok()) internal::Die(absl::StrCat("NBD server: ", handler.status().ToString()));
  handler_ = *std::move(handler);
  retry_ = std::make_unique<AioTimer>(main(), "NBD server", [this] { AcceptAll(); });
}

void ServerState::AcceptAll() {
  // When there are no descriptors or there is no memory for another connection: then perhaps again.
  constexpr Nanoseconds kRetry = std::chrono::milliseconds(100);
  if (handler_ == nullptr) return;
  FdEvents interest = FdEvents::kNone;
  while (options_.max_connections == 0 || connections() < options_.max_connections) {
    internal::UniqueFd socket;
    const int error = listener_->Accept(socket);
    if (error == 0) {
      Accept(std::move(socket));
    } else if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
      retry_->ArmAt(SaturatingAdd(main().clock().Now(), kRetry));
      break;
    } else if (error == EAGAIN || error == EWOULDBLOCK) {
      interest = FdEvents::kReadable;
      break;
    }  // otherwise the client is at fault, or has gone: on to the next
  }
  (void)handler_->SetInterest(interest);
}

void ServerState::Accept(internal::UniqueFd socket) {
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket));
  {
    const std::lock_guard lock(mutex_);
    connections_.insert(connection);
  }
  connection->Start();
}

void ServerState::StopListening() {
  handler_.reset();
  retry_.reset();
  listener_.reset();
  std::vector<std::shared_ptr<Connection>> open;
  {
    const std::lock_guard lock(mutex_);
    open.assign(connections_.begin(), connections_.end());
  }
  for (const std::shared_ptr<Connection>& connection : open) connection->Close();
}

void ServerState::OnEnded(std::shared_ptr<Connection> connection, std::shared_ptr<Export> chosen) {
  {
    const std::lock_guard lock(mutex_);
    connections_.erase(connection);
  }
  if (chosen != nullptr && chosen->Leave(*connection)) FinishExport(chosen);
  AcceptAll();
  CheckStopped();
}

void ServerState::FinishExport(const std::shared_ptr<Export>& finished) {
  finished->Finish();
  {
    const std::lock_guard lock(mutex_);
    const auto it = exports_.find(finished->id());
    if (it == exports_.end() || it->second != finished) return;  // removed twice
    exports_.erase(it);
  }
  if (options_.on_removed) options_.on_removed(finished->id());
  core_.main_context().wait_domain().Kick();
  CheckStopped();
}

void ServerState::CheckStopped() {
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_ || listener_.has_value() || !connections_.empty() || !exports_.empty()) return;
  }
  stopped_.store(true, std::memory_order_release);
  core_.main_context().wait_domain().Kick();
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd

// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/keys.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

constexpr char kEscape = '\x1b';

void SetMode(const termios& before) {
  termios mode = before;
  mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  mode.c_lflag |= NOFLSH;  // else Ctrl-C throws away what has been written and not shown yet
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &mode);
}

}  // namespace

bool Keys::Possible() { return isatty(STDIN_FILENO) == 1; }

std::unique_ptr<Keys> Keys::Create(jobcore::AioContext& context, Callback callback) {
  if (!Possible()) return nullptr;
  std::unique_ptr<Keys> keys(new Keys(context, std::move(callback)));
  keys->Claim();
  return keys;
}

void Keys::Claim() {
  termios before{};
  if (before_ || hung_up_ || !InForeground(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0) return;
  auto handler = jobcore::FdHandler::Create(context_, "keys", STDIN_FILENO, jobcore::FdEvents::kReadable,
                                            [this](jobcore::FdEvents) { OnReadable(); });
  if (!handler.ok()) return;
  handler_ = *std::move(handler);
  before_ = before;
  SetMode(before);
}

void Keys::Continue() {
  if (!before_) return Claim();
  if (!InForeground(STDIN_FILENO)) return Forget();
  SetMode(*before_);
}

void Keys::Release() {
  if (before_ && InForeground(STDIN_FILENO)) tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
  Forget();
}

void Keys::Forget() {
  before_.reset();
  handler_.reset();
}

void Keys::OnReadable() {
  if (!InForeground(STDIN_FILENO)) return Forget();  // what is typed is for the shell; to read it would stop us
  std::array<char, 64> keys{};
  const ssize_t n = read(STDIN_FILENO, keys.data(), keys.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) {  // SIGHUP says what becomes of the jobs
    hung_up_ = true;
    handler_.reset();
    return;
  }
  for (ssize_t i = 0; i < n; ++i) {
    const char key = keys[static_cast<size_t>(i)];
    if (key == kEscape) return;  // a cursor key, say; its letters are no keys of ours
    callback_(key);
  }
}

}  // namespace jobctl

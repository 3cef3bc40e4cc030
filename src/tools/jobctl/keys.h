// SPDX-License-Identifier: Apache-2.0
//
// Keys: single keys of standard input.

#ifndef JOBCORE_TOOLS_JOBCTL_KEYS_H_
#define JOBCORE_TOOLS_JOBCTL_KEYS_H_

#include <termios.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "job-common/aio_context.h"

namespace jobctl {

// While it has claimed the terminal, keys come one by one and without echo; those that send signals do so as ever. On
// the home thread of the context.
class Keys {
 public:
  using Callback = absl::AnyInvocable<void(char key)>;
  // Standard input is a terminal.
  static bool Possible();
  // Null: it is none. Claims it.
  static std::unique_ptr<Keys> Create(jobcore::AioContext& context, Callback callback);
  ~Keys() { Release(); }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  // Does nothing in the background of the shell, which tells nobody when it brings a job to the foreground: call it
  // from time to time.
  void Claim();
  // After the process has been stopped without a word and continued: the shell has set the terminal to what it likes.
  void Continue();
  // Makes it as it was before; also for those who leave without destructors.
  void Release();

 private:
  Keys(jobcore::AioContext& context, Callback callback) : context_(context), callback_(std::move(callback)) {}
  void Forget();
  void OnReadable();

  jobcore::AioContext& context_;
  Callback callback_;
  std::optional<termios> before_;  // while claimed
  std::unique_ptr<jobcore::FdHandler> handler_;
  bool hung_up_ = false;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_KEYS_H_

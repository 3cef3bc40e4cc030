// SPDX-License-Identifier: Apache-2.0
//
// TerminalChild: a program on a terminal of its own.

#ifndef JOBCORE_TESTS_BLOCK_TERMINAL_CHILD_H_
#define JOBCORE_TESTS_BLOCK_TERMINAL_CHILD_H_

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <regex.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>  // login_tty

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "block/screen.h"

namespace jobcore_test {

// The program leads a session, and is in the foreground of its terminal.
class TerminalChild {
 public:
  explicit TerminalChild(const std::vector<std::string>& command, unsigned short columns = 100,
                         unsigned short rows = 24)
      : screen_(columns, rows) {
    const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    if (openpty(&master_, &slave_, nullptr, nullptr, &size) != 0) abort();
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      close(master_);
      login_tty(slave_);
      // A shell that starts the tests in the background has them ignored.
      for (const int signal_number : {SIGINT, SIGQUIT}) signal(signal_number, SIG_DFL);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
    pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    if (pidfd_ < 0) abort();
  }
  ~TerminalChild() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    CloseTerminal();
    close(slave_);
    close(pidfd_);
  }
  TerminalChild(const TerminalChild&) = delete;
  TerminalChild& operator=(const TerminalChild&) = delete;

  void Kill(int signal) { kill(pid_, signal); }
  void Type(const std::string& keys) {
    ASSERT_EQ(write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  void Resize(unsigned short columns, unsigned short rows) {
    const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    screen_.Resize(columns, rows);
    ASSERT_EQ(ioctl(master_, TIOCSWINSZ, &size), 0);
  }
  void CloseTerminal() {
    if (master_ >= 0) close(master_);
    master_ = -1;
  }

  // Reads until the condition holds; false if it does not before the program ends or for far too long.
  bool ReadUntil(const std::function<bool()>& condition) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      if (!ReadSome()) return condition();
    }
    return true;
  }
  // Until the screen shows something that matches.
  bool ReadUntil(const std::string& pattern) {
    regex_t regex;  // an extended one; std::regex does not compile without warnings under AddressSanitizer
    if (regcomp(&regex, pattern.c_str(), REG_EXTENDED | REG_NEWLINE | REG_NOSUB) != 0) abort();
    const bool found = ReadUntil([&] { return regexec(&regex, screen_.Text().c_str(), 0, nullptr, 0) == 0; });
    regfree(&regex);
    EXPECT_TRUE(found) << pattern << " in\n" << screen_.Text();
    return found;
  }
  // As many more times as it paints anew.
  bool ReadPaintings(int count) {
    const int last = screen_.paintings() + count;
    return ReadUntil([&] { return screen_.paintings() >= last; });
  }
  // Reads the rest. The exit status, or 1000 + the signal that ended it.
  int Wait() {
    while (master_ >= 0 && ReadSome()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  const Screen& screen() const { return screen_; }
  std::string Text() const { return screen_.Text(); }
  const std::string& bytes() const { return bytes_; }  // all that it has written
  // Whether lines are edited and keys are echoed, as a shell wants it.
  bool IsCooked() const {
    termios mode{};
    EXPECT_EQ(tcgetattr(slave_, &mode), 0);
    const tcflag_t both = ICANON | ECHO;
    EXPECT_TRUE((mode.c_lflag & both) == 0 || (mode.c_lflag & both) == both);
    return (mode.c_lflag & both) == both;
  }

 private:
  bool ReadSome() {
    pollfd fds[] = {{.fd = master_, .events = POLLIN, .revents = 0}, {.fd = pidfd_, .events = POLLIN, .revents = 0}};
    constexpr int kHangs = 10000;
    if (poll(fds, 2, kHangs) <= 0 || (fds[0].revents & POLLIN) == 0) return false;
    char buffer[4096];
    const ssize_t n = read(master_, buffer, sizeof(buffer));
    if (n <= 0) return false;
    bytes_.append(buffer, static_cast<size_t>(n));
    screen_.Write({buffer, static_cast<size_t>(n)});
    return true;
  }

  int master_ = -1;
  int slave_ = -1;  // kept open, so that the terminal outlives the program
  int pidfd_ = -1;
  pid_t pid_ = -1;
  Screen screen_;
  std::string bytes_;
};

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_TERMINAL_CHILD_H_

// SPDX-License-Identifier: Apache-2.0
//
// ChildProcess: a program with pipes on its standard streams.

#ifndef JOBCORE_TESTS_BLOCK_CHILD_PROCESS_H_
#define JOBCORE_TESTS_BLOCK_CHILD_PROCESS_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace jobcore_test {

class ChildProcess {
 public:
  explicit ChildProcess(const std::vector<std::string>& command) {
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) abort();
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      dup2(err[1], 2);
      // A shell that starts the tests in the background has them ignored.
      for (const int signal_number : {SIGINT, SIGQUIT}) signal(signal_number, SIG_DFL);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    in_ = in[1];
    out_ = fdopen(out[0], "r");
    stderr_reader_ = std::thread([this, fd = err[0]] {  // so that neither pipe can fill up
      char buffer[4096];
      for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) err_.append(buffer, static_cast<size_t>(n));
      close(fd);
    });
  }
  ~ChildProcess() {
    if (pid_ > 0) {
      Kill(SIGKILL);
      Wait();
    }
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void Kill(int signal) { kill(pid_, signal); }
  void Send(const std::string& text) {
    ASSERT_EQ(write(in_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void CloseInput() {
    if (in_ >= 0) close(in_);
    in_ = -1;
  }
  // Nobody listens any more.
  void CloseOutput() {
    if (out_ != nullptr) fclose(out_);
    out_ = nullptr;
  }

  // The next line of its output; nothing at the end.
  std::optional<std::string> ReadLine() {
    std::string line;
    for (int c; out_ != nullptr && (c = getc(out_)) != EOF;) {
      out_text_.push_back(static_cast<char>(c));
      if (c == '\n') return line;
      line.push_back(static_cast<char>(c));
    }
    if (line.empty()) return std::nullopt;
    return line;
  }
  // Reads up to and including a line that contains `text`.
  bool ReadUntil(const std::string& text) {
    while (const std::optional<std::string> line = ReadLine()) {
      if (line->find(text) != std::string::npos) return true;
    }
    return false;
  }

  // It has ended by itself, and Wait returns at once.
  bool Ended() const {
    siginfo_t info = {};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
  }
  // Reads the rest of the output. The exit status, or 1000 + the signal that ended it.
  int Wait() {
    CloseInput();
    while (ReadLine()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    stderr_reader_.join();
    CloseOutput();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  const std::string& out() const { return out_text_; }  // what has been read so far
  const std::string& err() const { return err_; }       // after Wait

 private:
  pid_t pid_ = -1;
  int in_ = -1;
  FILE* out_ = nullptr;
  std::string out_text_;
  std::string err_;
  std::thread stderr_reader_;
};

// Runs `body` in a process of its own, which may give up rights, lower limits and mount things. The body's
// failed expectations are those of the test. False: `body` said so.
inline bool InChild(const std::function<bool()>& body) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    const bool result = body();
    fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 2 : result ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  EXPECT_NE(WEXITSTATUS(status), 2) << "see above";
  return WEXITSTATUS(status) == 0;
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_CHILD_PROCESS_H_

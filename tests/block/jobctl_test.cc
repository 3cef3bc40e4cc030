// SPDX-License-Identifier: Apache-2.0
//
// jobctl as a program: exit status, messages, and what it leaves behind however it ends. The program is
// $JOBCTL_PATH, or the one of this build.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/child_process.h"
#include "block/jobctl_path.h"
#include "block/test_files.h"

namespace {

using jobcore_test::ChildProcess;
using jobcore_test::Exists;
using jobcore_test::JobctlPath;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class JobctlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    if (JobctlPath().empty()) GTEST_SKIP() << "JOBCTL_PATH is not set";
    WriteFile(a_, Pattern(300000, 1));
    WriteFile(b_, Pattern(200000, 2));
  }

  static std::vector<std::string> Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {JobctlPath(), "backup"});
    return arguments;
  }
  struct Result {
    int exit_status;
    std::string out;
    std::string err;
  };
  static Result Run(std::vector<std::string> arguments, const std::string& input = "") {
    ChildProcess child(Command(std::move(arguments)));
    if (!input.empty()) child.Send(input);
    const int exit_status = child.Wait();
    return {exit_status, child.out(), child.err()};
  }
  // Neither the target nor anything hidden.
  void ExpectNoTrace() { EXPECT_THAT(dir_.Names(), ElementsAre("a", "b")); }
  void ExpectCopied(const std::string& target, const std::string& source) {
    EXPECT_TRUE(ReadFile(target) == ReadFile(source)) << target;
  }

  const TempDir dir_;
  const std::string a_ = dir_.Path("a");
  const std::string b_ = dir_.Path("b");
  const std::string to_a_ = dir_.Path("to-a.img");
  const std::string to_b_ = dir_.Path("to-b.img");
};

TEST_F(JobctlTest, CopiesPairsAndSaysWhatHappened) {
  for (const bool group : {false, true}) {
    std::vector<std::string> arguments = {"--iothreads", "2", "--in-flight", "2", "--chunk",
                                          "8k",          a_,  to_a_,         b_,  to_b_};
    if (group) arguments.push_back("--group");
    const Result result = Run(arguments);
    EXPECT_EQ(result.exit_status, 0);
    EXPECT_THAT(result.err, IsEmpty());
    for (const char* line : {"to-a  created\n", "to-a  running\n", "to-b  waiting\n", "to-b  pending\n",
                             "to-b  concluded (succeeded)\n", "to-a  done  293 KiB of data in '"}) {
      EXPECT_THAT(result.out, HasSubstr(line));
    }
    ExpectCopied(to_a_, a_);
    ExpectCopied(to_b_, b_);
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img", "to-b.img"));
    unlink(to_a_.c_str());
    unlink(to_b_.c_str());
  }
}

TEST_F(JobctlTest, JsonHasOneObjectPerLineAndEscapesNames) {
  const std::string target = dir_.Path("quote\"back\\slash\nline\x01\xff\xc3\xa4");
  const Result result = Run({"--json", a_, target});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  ExpectCopied(target, a_);
  std::vector<std::string> lines;
  for (size_t start = 0, end; (end = result.out.find('\n', start)) != std::string::npos; start = end + 1) {
    lines.push_back(result.out.substr(start, end - start));
    EXPECT_THAT(lines.back(), StartsWith("{\"type\":\""));
    EXPECT_THAT(lines.back(), EndsWith("}"));
  }
  ASSERT_GE(lines.size(), 7u);
  EXPECT_THAT(lines[0], HasSubstr("\"status\":\"created\"}"));
  EXPECT_THAT(lines[lines.size() - 2], HasSubstr("\"status\":\"null\",\"outcome\":\"succeeded\"}"));
  EXPECT_THAT(lines.back(), HasSubstr("\"exit-status\":0,"));
  EXPECT_THAT(lines.back(), HasSubstr("quote\\\"back\\\\slash\\nline\\u0001\\ufffd\xc3\xa4\""));
  EXPECT_THAT(lines.back(), HasSubstr("\"bytes\":300000,\"outcome\":\"succeeded\""));
}

TEST_F(JobctlTest, BadInputIsRefusedBeforeAnythingIsWritten) {
  const std::string nope = dir_.Path("nope");
  const struct {
    std::vector<std::string> arguments;
    const char* message;
  } kCases[] = {
      {{}, "SRC DST is required"},
      {{a_}, "has no target"},
      {{a_, to_a_, b_}, "has no target"},
      {{a_, to_a_, b_, to_a_}, "is given twice"},
      {{a_, to_a_, b_, dir_.path() + "/./to-a.img"}, "is given twice"},
      {{a_, b_, b_, to_b_}, "is the source of another pair"},
      {{"--force", a_, b_, b_, to_b_}, "is the source of another pair"},
      {{a_, to_a_, nope, to_b_}, "nope': No such file or directory"},
      {{a_, to_a_, dir_.path(), to_b_}, "is a directory"},
      {{a_, to_a_, b_, nope + "/x"}, "nope': No such file or directory"},
      {{a_, to_a_, b_, b_}, "is the same file as the source"},
      {{a_, b_}, "exists"},
      {{"--in-flight", "0", a_, to_a_}, "--in-flight: Value 0 not in range"},
      {{"--in-flight", "1000000000", a_, to_a_}, "--in-flight: Value 1000000000 not in range"},
      {{"--chunk", "1", a_, to_a_}, "--chunk: Value 1 not in range"},
      {{"--chunk", "many", a_, to_a_}, "--chunk"},
      {{"--iothreads", "0", a_, to_a_}, "--iothreads: Value 0 not in range"},
      {{"--watchdog", "0", a_, to_a_}, "--watchdog: Value 0 not in range"},
      {{"--finalize", "perhaps", a_, to_a_}, "perhaps not in"},
      {{"--frobnicate", a_, to_a_}, "--frobnicate"},
  };
  for (const auto& c : kCases) {
    const Result result = Run(c.arguments);
    EXPECT_EQ(result.exit_status, 2) << c.message;
    EXPECT_THAT(result.err, HasSubstr(c.message));
    EXPECT_THAT(result.out, IsEmpty());
    ExpectNoTrace();
  }
}

TEST_F(JobctlTest, HelpAndVersionAreNotErrors) {
  for (const char* option : {"--help", "--version"}) {
    ChildProcess child({JobctlPath(), option});
    EXPECT_EQ(child.Wait(), 0);
    EXPECT_THAT(child.out(), HasSubstr("jobctl"));
  }
  const Result result = Run({"--help"});
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out, HasSubstr("Exit status: 0 all done; 1 something failed"));
}

TEST_F(JobctlTest, FailureIsOneAndPairsWithoutGroupAreIndependent) {
  for (const bool group : {false, true}) {
    // A limit that the larger file does not fit.
    std::vector<std::string> command = {"sh", "-c", "ulimit -f 500; exec \"$@\"", "sh"};  // blocks of 512
    std::vector<std::string> arguments = Command({a_, to_a_, b_, to_b_});
    if (group) arguments.push_back("--group");
    command.insert(command.end(), arguments.begin(), arguments.end());
    ChildProcess child(command);
    EXPECT_EQ(child.Wait(), 1);
    EXPECT_THAT(child.err(), HasSubstr("jobctl: to-a: cannot extend target '" + to_a_ + "'"));
    EXPECT_THAT(child.err(), HasSubstr("File too large"));
    if (group) {
      ExpectNoTrace();
    } else {
      ExpectCopied(to_b_, b_);
      EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-b.img"));
      unlink(to_b_.c_str());
    }
  }
}

TEST_F(JobctlTest, ManualFinalizationAsksOnceForAll) {
  for (const bool group : {false, true}) {
    std::vector<std::string> arguments = {"--finalize", "manual", a_, to_a_, b_, to_b_};
    if (group) arguments.push_back("--group");
    const Result result = Run(arguments, "y\n");
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("finalize to-a, to-b? [y/N]\n"));
    ExpectCopied(to_a_, a_);
    ExpectCopied(to_b_, b_);
    unlink(to_a_.c_str());
    unlink(to_b_.c_str());
  }
}

TEST_F(JobctlTest, AnythingButYesCancels) {
  for (const char* answer : {"n\n", "\n", "maybe\n", "y", ""}) {  // the last two: end of input
    const Result result = Run({"--finalize", "manual", a_, to_a_}, answer);
    EXPECT_EQ(result.exit_status, 130) << answer;
    EXPECT_THAT(result.out, HasSubstr("aborting (cancelled"));
    ExpectNoTrace();
  }
}

TEST_F(JobctlTest, AnswerMayComeFromAPlainFileOrNowhere) {
  WriteFile(dir_.Path("yes"), "y\n");
  for (const auto& [input, expected] : {std::pair("/dev/null", 130), std::pair("yes", 0)}) {
    std::vector<std::string> command = {"sh", "-c", "cd \"$0\"; exec \"$@\" <" + std::string(input), dir_.path()};
    const std::vector<std::string> arguments = Command({"--finalize", "manual", a_, to_a_});
    command.insert(command.end(), arguments.begin(), arguments.end());
    ChildProcess child(command);
    EXPECT_EQ(child.Wait(), expected) << input;
    EXPECT_EQ(Exists(to_a_), expected == 0);
  }
}

TEST_F(JobctlTest, TargetThatAppearsMeanwhileAbortsTheWholeGroup) {
  ChildProcess child(Command({"--group", "--finalize", "manual", a_, to_a_, b_, to_b_}));
  ASSERT_TRUE(child.ReadUntil("finalize"));
  WriteFile(to_b_, "precious");
  child.Send("y\n");
  EXPECT_EQ(child.Wait(), 1);
  EXPECT_THAT(child.err(), HasSubstr("jobctl: to-b: target '" + to_b_ + "' has appeared meanwhile"));
  EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-b.img"));
  EXPECT_EQ(ReadFile(to_b_), "precious");
}

TEST_F(JobctlTest, SignalCancelsAndLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    for (const char* moment : {"running", "waiting", "finalize"}) {
      ChildProcess child(Command({"--group", "--finalize", "manual", "--chunk", "4k", a_, to_a_, b_, to_b_}));
      ASSERT_TRUE(child.ReadUntil(moment));
      child.Kill(signal);
      // Its input stays open: that it ends is not because of the end of input.
      ASSERT_TRUE(child.ReadUntil("concluded"));
      EXPECT_EQ(child.Wait(), 130) << moment;
      EXPECT_THAT(child.err(), HasSubstr("jobctl: cancelling"));
      ExpectNoTrace();
    }
  }
}

TEST_F(JobctlTest, NohupLetsItGoOn) {
  std::vector<std::string> command = {"sh", "-c", "trap '' HUP; exec \"$@\"", "sh"};
  const std::vector<std::string> arguments = Command({"--finalize", "manual", a_, to_a_});
  command.insert(command.end(), arguments.begin(), arguments.end());
  ChildProcess child(command);
  ASSERT_TRUE(child.ReadUntil("finalize"));
  child.Kill(SIGHUP);
  child.Send("y\n");
  EXPECT_EQ(child.Wait(), 0);
  ExpectCopied(to_a_, a_);
}

// A terminal that is closed sends it twice: by the kernel, and by the shell.
TEST_F(JobctlTest, SecondHangUpIsNoReasonToExitAtOnce) {
  for (int i = 0; i < 5; ++i) {
    ChildProcess child(Command({"--finalize", "manual", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("finalize"));
    child.Kill(SIGHUP);
    ASSERT_TRUE(child.ReadUntil("aborting"));
    child.Kill(SIGHUP);
    EXPECT_EQ(child.Wait(), 130);
    EXPECT_THAT(child.out(), HasSubstr("to-a  cancelled\n"));
    ExpectNoTrace();
  }
}

TEST_F(JobctlTest, SecondSignalLeavesNothingEither) {
  for (int i = 0; i < 5; ++i) {
    ChildProcess child(Command({"--finalize", "manual", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("finalize"));
    child.Kill(SIGINT);
    child.Kill(SIGTERM);
    EXPECT_EQ(child.Wait(), 130);
    ExpectNoTrace();
  }
}

TEST_F(JobctlTest, SigUsr1SaysWhatEveryJobWaitsForAndDisturbsNothing) {
  ChildProcess child(Command({"--watchdog", "100", "--finalize", "manual", a_, to_a_}));
  ASSERT_TRUE(child.ReadUntil("finalize"));
  child.Kill(SIGUSR1);
  child.Send("y\n");
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_THAT(child.err(), HasSubstr("loops\n  main  in callback 'signals', polled "));
  EXPECT_THAT(child.err(), HasSubstr(", home of 'main'  the jobs  "));
  EXPECT_THAT(child.err(), HasSubstr("jobs\n  'to-a'  pending  its group to be finalized, on request\n"));
  EXPECT_THAT(child.err(), Not(HasSubstr("watchdog")));
  ExpectCopied(to_a_, a_);
}

TEST_F(JobctlTest, GoesOnWhenNobodyReadsItsOutput) {
  ChildProcess child(Command({"--finalize", "manual", a_, to_a_}));
  ASSERT_TRUE(child.ReadUntil("finalize"));
  child.CloseOutput();
  child.Send("y\n");
  EXPECT_EQ(child.Wait(), 0);
  ExpectCopied(to_a_, a_);
}

// However it is killed: what stands under a target's name is complete.
TEST_F(JobctlTest, KilledInTheMiddleLeavesNoFileUnderAFinalName) {
  for (const char* moment : {"created", "running", "waiting", "pending", "finalize"}) {
    for (int i = 0; i < 3; ++i) {
      ChildProcess child(Command({"--group", "--finalize", "manual", "--chunk", "4k", a_, to_a_, b_, to_b_}));
      ASSERT_TRUE(child.ReadUntil(moment));
      child.Kill(SIGKILL);
      EXPECT_EQ(child.Wait(), 1000 + SIGKILL);
      EXPECT_FALSE(Exists(to_a_)) << moment;
      EXPECT_FALSE(Exists(to_b_)) << moment;
    }
  }
}

TEST_F(JobctlTest, KilledDuringTheCommitLeavesOnlyCompleteFiles) {
  int appeared = 0;
  for (int i = 0; i < 20; ++i) {
    ChildProcess child(Command({"--group", "--finalize", "manual", a_, to_a_, b_, to_b_}));
    ASSERT_TRUE(child.ReadUntil("finalize"));
    child.Send("y\n");
    if (i % 2 == 0) child.ReadLine();  // of the first that has concluded
    child.Kill(SIGKILL);
    child.Wait();
    for (const auto& [target, source] : {std::pair(to_a_, a_), std::pair(to_b_, b_)}) {
      if (!Exists(target)) continue;
      ++appeared;
      ExpectCopied(target, source);
      unlink(target.c_str());
    }
  }
  EXPECT_GT(appeared, 0) << "every kill came before the commit";
}

// What a killed one left does not disturb the next.
TEST_F(JobctlTest, NextRunWorksBesideTheRemainsOfAKilledOne) {
  {
    ChildProcess child(Command({"--finalize", "manual", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("finalize"));
    child.Kill(SIGKILL);
    child.Wait();
  }
  EXPECT_THAT(dir_.Names(), ElementsAre(HasSubstr(".to-a.img.jobcore-"), "a", "b"));
  EXPECT_EQ(Run({a_, to_a_}).exit_status, 0);
  ExpectCopied(to_a_, a_);
}

}  // namespace

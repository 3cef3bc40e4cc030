// SPDX-License-Identifier: Apache-2.0
//
// jobctl on a terminal: what it paints, its keys, and how it leaves the terminal.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>
#include <vector>

#include "block/jobctl_path.h"
#include "block/terminal_child.h"
#include "block/test_files.h"

namespace {

using jobcore_test::Exists;
using jobcore_test::JobctlPath;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::TempDir;
using jobcore_test::TerminalChild;
using jobcore_test::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Words = std::vector<std::string>;

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class JobctlTerminalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (JobctlPath().empty()) GTEST_SKIP() << "JOBCTL_PATH is not set";
    WriteFile(a_, Pattern(4 << 20));
  }

  // With `environment`, as `env` takes it.
  static Words Command(const Words& arguments, const Words& environment = {}) {
    Words command = {"env", "-u", "NO_COLOR", "TERM=xterm", "LC_ALL=C.UTF-8"};
    command.insert(command.end(), environment.begin(), environment.end());
    command.insert(command.end(), {JobctlPath(), "backup"});
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }
  // As a shell that runs `script` with the command as "$@".
  static Words InShell(const std::string& script, const Words& command) {
    Words words = {"sh", "-c", script, "sh"};
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }
  // One that takes longer than any test.
  Words Slow() const { return {"--speed", "256k", "--chunk", "16k", a_, to_a_}; }
  void ExpectNoTrace() { EXPECT_THAT(dir_.Names(), ElementsAre("a")); }

  const TempDir dir_;
  const std::string a_ = dir_.Path("a");
  const std::string to_a_ = dir_.Path("to-a.img");
};

// What the bars look like, of a job that runs.
constexpr char kRuns[] = "to-a  (█)*(░)+ +[0-9]+%  .*running";

TEST_F(JobctlTerminalTest, EachJobHasALineWithABar) {
  TerminalChild child(Command({"--speed", "1m", "--chunk", "16k", a_, to_a_, a_, dir_.Path("b.img")}), 120);
  EXPECT_TRUE(child.ReadUntil(
      "to-a  (█)+(░)+ +[0-9]+%   *[0-9.]+ [KM]iB of 4.0 MiB +[0-9.]+ [KM]iB/s  ETA 0:[0-9]+  running  limit 1.0 MiB/s\n"
      "b     (█)+(░)+ +[0-9]+%   *[0-9.]+ [KM]iB of 4.0 MiB +[0-9.]+ [KM]iB/s  ETA 0:[0-9]+  running  limit 1.0 MiB/s\n"
      "p pause  c cancel\n"));
  EXPECT_TRUE(child.screen().colored());
  // Painted in place.
  EXPECT_TRUE(child.ReadPaintings(2));
  EXPECT_EQ(Count(child.Text(), "b     █"), 1u) << child.Text();
}

TEST_F(JobctlTerminalTest, PausesAndResumes) {
  TerminalChild child(Command(Slow()));
  ASSERT_TRUE(child.ReadUntil(kRuns));
  child.Type("p");
  ASSERT_TRUE(child.ReadUntil("paused \\(user\\)"));
  const std::string paused = child.Text();
  EXPECT_THAT(paused, HasSubstr("\nr resume  c cancel\n"));
  EXPECT_THAT(paused, Not(HasSubstr("ETA")));
  ASSERT_TRUE(child.ReadPaintings(2));
  EXPECT_EQ(child.Text(), paused) << "no progress";
  child.Type("r");
  EXPECT_TRUE(child.ReadUntil(kRuns));
}

TEST_F(JobctlTerminalTest, CancelsAndLeavesNothing) {
  TerminalChild child(Command(Slow()));
  ASSERT_TRUE(child.ReadUntil(kRuns));
  EXPECT_FALSE(child.IsCooked());
  child.Type("c");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_THAT(child.Text(), ::testing::MatchesRegex("jobctl: cancelling; Ctrl-C exits at once\n"
                                                    "\\[ +[0-9.]+\\]  to-a  cancelled\n+"));
  EXPECT_TRUE(child.IsCooked());
  ExpectNoTrace();
}

TEST_F(JobctlTerminalTest, FinalizesWhenAsked) {
  for (const char* key : {"f", "y"}) {
    TerminalChild child(Command({"--finalize", "manual", "--force", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("100%.* pending\nall is copied:  f finalize  c cancel\n"));
    child.Type(key);
    EXPECT_EQ(child.Wait(), 0);
    EXPECT_THAT(child.Text(), ::testing::MatchesRegex("\\[ +[0-9.]+\\]  to-a  done  4.0 MiB of data in '.*'\n+"));
    EXPECT_TRUE(ReadFile(to_a_) == ReadFile(a_));
    EXPECT_TRUE(child.IsCooked());
  }
}

TEST_F(JobctlTerminalTest, KeysThatDoNotApplyAreIgnoredAndSoAreLettersOfCursorKeys) {
  TerminalChild child(Command(Slow()));
  ASSERT_TRUE(child.ReadUntil(kRuns));
  child.Type("f");
  child.Type("\x1bOc");  // Ctrl-Right of some terminals
  ASSERT_TRUE(child.ReadPaintings(2));
  child.Type("xyn P");
  child.Type("p");
  EXPECT_TRUE(child.ReadUntil("paused \\(user\\)"));
  EXPECT_THAT(child.Text(), Not(HasSubstr("cancelling")));
}

TEST_F(JobctlTerminalTest, FitsIntoTheWindow) {
  const std::string target = dir_.Path("backup-of-the-disk-of-some-machine.img");
  const struct {
    unsigned short columns;
    const char* line;
  } kCases[] = {
      {60, "backup-of-…e-machine  (█)*(░)+ +[0-9]+%  .*running\np pause  c cancel\n"},
      {40, "backup…chine  (█)*(░)+ +[0-9]+%  running\n"},
      {25, "back…hine +[0-9]+%  running\n"},
      {10, "b…e +[0-9]+%\nc cancel\n"},
  };
  for (const auto& c : kCases) {
    TerminalChild child(Command({"--speed", "256k", "--chunk", "16k", a_, target}), c.columns);
    EXPECT_TRUE(child.ReadUntil(c.line));
    EXPECT_EQ(child.screen().wrapped(), 0);
  }
}

TEST_F(JobctlTerminalTest, FollowsTheWindow) {
  TerminalChild child(Command(Slow()), 40);
  ASSERT_TRUE(child.ReadUntil("to-a  (█)*(░)+ +[0-9]+%  running\n"));
  child.Resize(100, 24);
  ASSERT_TRUE(child.ReadUntil(kRuns));
  EXPECT_EQ(Count(child.Text(), "running"), 1u) << child.Text();
}

TEST_F(JobctlTerminalTest, ShowsAsManyJobsAsTheWindowHasRoomFor) {
  Words arguments = {"--speed", "256k", "--chunk", "16k"};
  for (int i = 1; i <= 9; ++i) arguments.insert(arguments.end(), {a_, dir_.Path("to-" + std::to_string(i))});
  TerminalChild child(Command(arguments), 100, 10);
  EXPECT_TRUE(child.ReadUntil("to-1 .*\nto-2 .*\nto-3 .*\nand 6 more\np pause  c cancel\n"));
  child.Resize(100, 24);
  EXPECT_TRUE(child.ReadUntil("to-1 .*\nto-2 .*\n(to-[3-9] .*\n){7}p pause  c cancel\n"));
}

TEST_F(JobctlTerminalTest, NoColorIsRespected) {
  TerminalChild child(Command(Slow(), {"NO_COLOR=1"}));
  ASSERT_TRUE(child.ReadUntil(kRuns));
  child.Type("c");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_FALSE(child.screen().colored());
}

TEST_F(JobctlTerminalTest, BarsAreAsciiUnlessTheLocaleSaysUtf8) {
  TerminalChild child(Command(Slow(), {"LC_ALL=C"}));
  EXPECT_TRUE(child.ReadUntil("to-a  #*-+ +[0-9]+%"));
}

TEST_F(JobctlTerminalTest, DumbTerminalsGetPlainLines) {
  TerminalChild child(Command({"--finalize", "manual", a_, to_a_}, {"TERM=dumb"}));
  ASSERT_TRUE(child.ReadUntil("finalize to-a\\? \\[y/N\\]\n"));
  EXPECT_TRUE(child.IsCooked());
  child.Type("y\n");
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_THAT(child.bytes(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(child.Text(), HasSubstr("to-a  concluded (succeeded)\n"));
}

TEST_F(JobctlTerminalTest, PipesGetPlainLines) {
  TerminalChild child(InShell("\"$@\" | cat", Command({a_, to_a_})));
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_THAT(child.bytes(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(child.Text(), HasSubstr("to-a  concluded (succeeded)\n"));
}

TEST_F(JobctlTerminalTest, AsksAboveTheBarsIfInputIsNoTerminal) {
  // The answer comes when the terminal's line does.
  TerminalChild child(
      InShell("(read line </dev/tty; echo $line) | \"$@\"", Command({"--finalize", "manual", a_, to_a_})));
  ASSERT_TRUE(child.ReadUntil("finalize to-a\\? \\[y/N\\]\nto-a  (█)+ +100%.*pending\n"));
  EXPECT_THAT(child.Text(), Not(HasSubstr("cancel"))) << "there are no keys";
  EXPECT_TRUE(child.IsCooked());
  child.Type("y\n");
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_TRUE(Exists(to_a_));
}

TEST_F(JobctlTerminalTest, WhatIsSaidOnStandardErrorStaysWhole) {
  TerminalChild child(Command(Slow()));
  for (size_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(child.ReadPaintings(1));
    child.Kill(SIGUSR1);
    ASSERT_TRUE(child.ReadUntil([&] { return Count(child.Text(), "\n  'to-a'  ") == i; }));
  }
  ASSERT_TRUE(child.ReadPaintings(1));
  const std::string screen = child.Text();
  EXPECT_EQ(Count("\n" + screen, "\nloops\n  main  in callback 'signals', polled "), 3u) << screen;
  EXPECT_EQ(Count(screen, "%"), 1u) << screen;
  EXPECT_THAT(screen, HasSubstr("running  limit 256 KiB/s\np pause  c cancel\n"));
}

TEST_F(JobctlTerminalTest, FailureIsAnErrorAboveTheBars) {
  TerminalChild child(Command({"--finalize", "manual", a_, to_a_, a_, dir_.Path("b.img")}));
  ASSERT_TRUE(child.ReadUntil("all is copied"));
  WriteFile(to_a_, "precious");
  child.Type("f");
  EXPECT_EQ(child.Wait(), 1);
  EXPECT_THAT(child.Text(), HasSubstr("to-a  failed\njobctl: to-a: target '" + to_a_.substr(0, 20)));
  EXPECT_THAT(child.Text(), HasSubstr("  b     done  "));
  EXPECT_THAT(child.Text(), HasSubstr("  all   1 done  1 failed\n"));
}

TEST_F(JobctlTerminalTest, TerminalIsRestoredHoweverItEnds) {
  const struct {
    const char* what;
    void (*end)(TerminalChild&);
    int exit_status;
  } kCases[] = {
      {"Ctrl-C", [](TerminalChild& child) { child.Type("\x03"); }, 130},
      {"Ctrl-C twice",
       [](TerminalChild& child) {
         child.Type("\x03");
         child.ReadUntil("cancelling");
         child.Kill(SIGINT);  // a second key might come after the end, and throw away output
       },
       130},
      {"SIGTERM", [](TerminalChild& child) { child.Kill(SIGTERM); }, 130},
      {"SIGHUP", [](TerminalChild& child) { child.Kill(SIGHUP); }, 130},
      {"Ctrl-\\", [](TerminalChild& child) { child.Type("\x1c"); }, 1000 + SIGQUIT},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.what);
    TerminalChild child(InShell("ulimit -c 0; exec \"$@\"", Command(Slow())));
    ASSERT_TRUE(child.ReadUntil(kRuns));
    EXPECT_FALSE(child.IsCooked());
    c.end(child);
    EXPECT_EQ(child.Wait(), c.exit_status);
    EXPECT_TRUE(child.IsCooked());
    EXPECT_THAT(child.Text(), Not(HasSubstr("p pause"))) << "nothing painted is left";
  }
}

TEST_F(JobctlTerminalTest, StopsLikeAnyProgramAndComesBack) {
  TerminalChild child(InShell("set -m; \"$@\"; echo the shell; read line; fg", Command(Slow())));
  ASSERT_TRUE(child.ReadUntil(kRuns));
  child.Type("\x1a");
  ASSERT_TRUE(child.ReadUntil("the shell\n"));
  EXPECT_TRUE(child.IsCooked());
  EXPECT_THAT(child.Text(), Not(HasSubstr("p pause")));
  child.Type("\n");
  ASSERT_TRUE(child.ReadUntil(kRuns));
  EXPECT_FALSE(child.IsCooked());
  EXPECT_THAT(child.Text(), HasSubstr("the shell\n"));
  child.Type("c");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_TRUE(child.IsCooked());
  ExpectNoTrace();
}

TEST_F(JobctlTerminalTest, KeepsQuietInTheBackground) {
  TerminalChild child(
      InShell("set -m; \"$@\" & read line; fg", Command({"--finalize", "manual", "--speed", "12m", a_, to_a_})));
  ASSERT_TRUE(child.ReadUntil("jobctl: all is copied; in the foreground, f finalizes and c cancels\n"));
  EXPECT_TRUE(child.IsCooked());
  EXPECT_THAT(child.bytes(), Not(HasSubstr("\x1b[2K")));
  EXPECT_THAT(child.bytes(), Not(HasSubstr("\x1b[J")));
  child.Type("f\n");  // the shell's
  ASSERT_TRUE(child.ReadUntil("all is copied:  f finalize"));
  EXPECT_FALSE(child.IsCooked());
  child.Type("f");
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_TRUE(child.IsCooked());
  EXPECT_TRUE(Exists(to_a_));
}

TEST_F(JobctlTerminalTest, TerminalThatIsClosedCancels) {
  TerminalChild child(Command(Slow()));
  ASSERT_TRUE(child.ReadUntil(kRuns));
  child.CloseTerminal();
  EXPECT_EQ(child.Wait(), 130);
  ExpectNoTrace();
}

}  // namespace

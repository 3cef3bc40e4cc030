// SPDX-License-Identifier: Apache-2.0
//
// `jobctl mirror` and `jobctl verify` as a program: what they copy, what they refuse, what they leave behind, and that
// a rehearsal proves what it says.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "block/child_process.h"
#include "block/image_lock.h"
#include "block/jobctl_path.h"
#include "block/terminal_child.h"
#include "block/test_files.h"
#include "block/unique_fd.h"

namespace {

using jobcore::internal::UniqueFd;
using jobcore_test::ChildProcess;
using jobcore_test::JobctlPath;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::Stat;
using jobcore_test::TempDir;
using jobcore_test::TerminalChild;
using jobcore_test::WriteFile;
using jobcore_test::WriteSparseFile;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using Words = std::vector<std::string>;

class JobctlMirrorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    if (JobctlPath().empty()) GTEST_SKIP() << "JOBCTL_PATH is not set";
    WriteFile(a_, Pattern(1 << 20, 1));
    WriteFile(b_, Pattern(300000, 2));
  }

  static Words Command(Words arguments) {
    arguments.insert(arguments.begin(), {JobctlPath(), "mirror"});
    return arguments;
  }
  struct Result {
    int exit_status;
    std::string out;
    std::string err;
  };
  static Result Run(const Words& command, const std::string& input = "") {
    ChildProcess child(command);
    if (!input.empty()) child.Send(input);
    const int exit_status = child.Wait();
    return {exit_status, child.out(), child.err()};
  }
  static Result Mirror(const Words& arguments, const std::string& input = "") { return Run(Command(arguments), input); }
  static Result Verify(const std::string& image, const std::string& ledger) {
    return Run({JobctlPath(), "verify", image, ledger});
  }
  // Somebody who ignores locks has written to it.
  static void Touch(const std::string& path) {
    const time_t before = Stat(path).st_mtim.tv_sec;
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = before + 1, .tv_nsec = 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  static bool StartsWithHidden(const std::string& name) { return name.rfind(".to-", 0) == 0; }
  // Both images are as before, and there is nothing else.
  void ExpectNoTrace() {
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b"));
    EXPECT_TRUE(ReadFile(a_) == Pattern(1 << 20, 1));
    EXPECT_TRUE(ReadFile(b_) == Pattern(300000, 2));
  }
  static size_t ChangedBlocks(const std::string& before, const std::string& now) {
    constexpr size_t kBlock = 4096;
    size_t changed = 0;
    for (size_t at = 0; at < before.size(); at += kBlock) {
      if (before.compare(at, kBlock, now, at, kBlock) != 0) ++changed;
    }
    return changed;
  }
  // A number of the line of writers, of the only job.
  static uint64_t Number(const std::string& out, const std::string& name) {
    const size_t at = out.find("\"" + name + "\":");
    EXPECT_NE(at, std::string::npos) << name << " in\n" << out;
    if (at == std::string::npos) return 0;
    return std::stoull(out.substr(at + name.size() + 3));
  }

  const TempDir dir_;
  const std::string a_ = dir_.Path("a");
  const std::string b_ = dir_.Path("b");
  const std::string to_a_ = dir_.Path("to-a.img");
  const std::string to_b_ = dir_.Path("to-b.img");
  const std::string ledger_ = dir_.Path("ledger");
};

TEST_F(JobctlMirrorTest, MakesTargetsThatAreLikeTheirSources) {
  for (const Words& options : {Words{}, Words{"--group", "--iothreads", "2"}, Words{"--io-engine", "threads"},
                               Words{"--copy-mode", "write-blocking", "--granularity", "512", "--direct"},
                               Words{"--no-sync", "--in-flight", "1"}}) {
    Words arguments = options;
    arguments.insert(arguments.end(), {a_, to_a_, b_, to_b_});
    const Result result = Mirror(arguments);
    EXPECT_EQ(result.exit_status, 0);
    EXPECT_THAT(result.err, IsEmpty());
    for (const char* line : {"to-a  created\n", "to-a  ready\n", "to-b  ready\n", "to-b  concluded (succeeded)\n",
                             "to-a  done  1.0 MiB copied to '"}) {
      EXPECT_THAT(result.out, HasSubstr(line));
    }
    EXPECT_TRUE(ReadFile(to_a_) == ReadFile(a_));
    EXPECT_TRUE(ReadFile(to_b_) == ReadFile(b_));
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img", "to-b.img"));
    unlink(to_a_.c_str());
    unlink(to_b_.c_str());
  }
}

TEST_F(JobctlMirrorTest, HolesStayHolesAndSizesMayBeOddOrZero) {
  const std::string sparse = dir_.Path("sparse");
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, (uint64_t{8} << 20) + 513}) {
    WriteSparseFile(sparse, size,
                    size > 9999 ? std::vector{std::pair(uint64_t{4} << 20, std::string(5000, 'x'))}
                                : std::vector<std::pair<uint64_t, std::string>>());
    EXPECT_EQ(Mirror({"--force", sparse, to_a_}).exit_status, 0) << size;
    EXPECT_TRUE(ReadFile(to_a_) == ReadFile(sparse)) << size;
    EXPECT_LE(Stat(to_a_).st_blocks, 1024) << "some pieces, not all";
    unlink(to_a_.c_str());
  }
}

TEST_F(JobctlMirrorTest, ReplacesWhatIsThereOnlyWithForceWhateverItsSize) {
  WriteFile(to_a_, "old");
  const Result refused = Mirror({a_, to_a_});
  EXPECT_EQ(refused.exit_status, 2);
  EXPECT_THAT(refused.err, HasSubstr("to-a.img' exists; --force replaces it"));
  EXPECT_EQ(ReadFile(to_a_), "old");
  EXPECT_EQ(Mirror({"--force", a_, to_a_}).exit_status, 0);
  EXPECT_TRUE(ReadFile(to_a_) == ReadFile(a_));
  EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img"));
}

TEST_F(JobctlMirrorTest, ALinkIsReplacedAndWhatItLeadsToStays) {
  WriteFile(to_b_, "behind");
  ASSERT_EQ(symlink("to-b.img", to_a_.c_str()), 0);
  EXPECT_EQ(Mirror({a_, to_a_}).exit_status, 2);
  EXPECT_EQ(Mirror({"--force", a_, to_a_}).exit_status, 0);
  EXPECT_TRUE(ReadFile(to_a_) == ReadFile(a_));
  EXPECT_EQ(ReadFile(to_b_), "behind");
}

// --- The target has its name when it is whole ---

TEST_F(JobctlMirrorTest, KilledAtAnyMomentLeavesNothingUnderTheTargetsName) {
  for (const bool force : {false, true}) {
    if (force) WriteFile(to_a_, "old");
    for (const char* moment : {"running", "ready", "switch over"}) {
      ChildProcess child(Command({"--complete", "manual", force ? "--force" : "--direct", a_, to_a_}));
      ASSERT_TRUE(child.ReadUntil(moment));
      child.Kill(SIGKILL);
      EXPECT_EQ(child.Wait(), 1000 + SIGKILL);
      EXPECT_TRUE(ReadFile(to_a_) == (force ? "old" : "(no such file)")) << moment;
      for (const std::string& name : dir_.Names()) {
        if (StartsWithHidden(name)) unlink(dir_.Path(name).c_str());
      }
    }
  }
}

TEST_F(JobctlMirrorTest, ATargetThatExistsStaysIfTheMirrorFailsOrIsCancelled) {
  WriteFile(to_a_, "old");
  {
    ChildProcess child(Command({"--force", "--complete", "manual", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("switch over"));
    child.Kill(SIGINT);
    EXPECT_EQ(child.Wait(), 130);
    EXPECT_TRUE(ReadFile(to_a_) == "old");
  }
  EXPECT_EQ(Mirror({"--force", "--complete", "manual", a_, to_a_}, "k\n").exit_status, 0);
  EXPECT_TRUE(ReadFile(to_a_) == ReadFile(a_)) << "a copy of that moment";
  EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img"));
}

TEST_F(JobctlMirrorTest, AGroupThatFailsLeavesAllTargetsThatExist) {
  WriteFile(to_a_, "old a");
  WriteFile(to_b_, "old b");
  for (const bool group : {true, false}) {
    ChildProcess child(
        Command({"--force", group ? "--group" : "--no-sync", "--complete", "manual", a_, to_a_, b_, to_b_}));
    ASSERT_TRUE(child.ReadUntil("switch over"));
    // Not a file that could be replaced.
    ASSERT_EQ(unlink(to_a_.c_str()), 0);
    ASSERT_EQ(mkdir(to_a_.c_str(), 0777), 0);
    child.Send("y\n");
    EXPECT_EQ(child.Wait(), 1);
    EXPECT_THAT(child.err(), HasSubstr("jobctl: to-a: "));
    EXPECT_EQ(ReadFile(to_b_) == "old b", group);
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img", "to-b.img"));
    ASSERT_EQ(rmdir(to_a_.c_str()), 0);
    WriteFile(to_a_, "old a");
  }
}

TEST_F(JobctlMirrorTest, NobodyBeginsToUseAnImageThatIsAboutToBeReplaced) {
  WriteFile(to_a_, "old");
  ChildProcess child(Command({"--force", "--complete", "manual", a_, to_a_}));
  ASSERT_TRUE(child.ReadUntil("switch over"));
  {
    const UniqueFd user(open(to_a_.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_FALSE(jobcore::internal::LockImage(user.get(), to_a_, /*writes=*/false, /*required=*/true).ok());
  }
  child.Send("y\n");
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(JobctlMirrorTest, AFileThatHasTakenTheNameIsNotReplacedAndTheWritersStayWithTheSource) {
  for (const char* answer : {"y\n", "k\n"}) {
    ChildProcess child(Command({"--complete", "manual", "--writers", "1", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("switch over"));
    WriteFile(to_a_, "precious");
    child.Send(answer);
    EXPECT_EQ(child.Wait(), 1);
    EXPECT_THAT(child.err(), HasSubstr("to-a.img' has appeared meanwhile"));
    EXPECT_EQ(ReadFile(to_a_), "precious");
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img")) << "the source has everything";
    unlink(to_a_.c_str());
  }
}

TEST_F(JobctlMirrorTest, BadInputIsRefusedBeforeAnythingIsWritten) {
  const std::string nope = dir_.Path("nope");
  const struct {
    Words arguments;
    const char* message;
  } kCases[] = {
      {{}, "SRC DST is required"},
      {{a_}, "has no target"},
      {{a_, to_a_, nope, to_b_}, "nope': No such file or directory"},
      {{a_, to_a_, dir_.path(), to_b_}, "it is a directory"},
      {{a_, to_a_, b_, dir_.path()}, "is a directory, not a regular file"},
      {{a_, to_a_, b_, nope + "/x"}, "nope': No such file or directory"},
      {{a_, "/dev/null"}, "is a character device, not a regular file"},
      {{"--force", a_, a_}, "is the same file as the source"},
      {{a_, b_}, "exists; --force"},
      {{"--on-error", "stop", a_, to_a_}, "--on-error stop needs a terminal"},
      {{"--force", a_, b_, b_, to_b_}, "is the source of another pair"},
      {{"--writers", "2", a_, to_a_, a_, to_b_}, "for writing: another process, or another node, uses it"},
      {{"--writers", "64", a_, to_a_, b_, to_b_, "--iothreads", "65"}, "--iothreads: Value 65 not in range"},
      {{"--ledger", ledger_, a_, to_a_}, "it needs --writers N"},
      {{"--ledger", ledger_, "--writers", "1", a_, to_a_, b_, to_b_}, "works with one pair"},
      {{"--granularity", "1000", a_, to_a_}, "--granularity: Value 1000 is not a power of two"},
      {{"--granularity", "256", a_, to_a_}, "--granularity: Value 256 not in range"},
      {{"--copy-mode", "quick", a_, to_a_}, "--copy-mode"},
      {{"--complete", "perhaps", a_, to_a_}, "perhaps not in"},
      {{"--on-error", "panic", a_, to_a_}, "--on-error"},
  };
  for (const auto& c : kCases) {
    const Result result = Mirror(c.arguments);
    EXPECT_EQ(result.exit_status, 2) << c.message;
    EXPECT_THAT(result.err, HasSubstr(c.message));
    EXPECT_THAT(result.out, IsEmpty());
    ExpectNoTrace();
  }
}

TEST_F(JobctlMirrorTest, TooManyWritersForASmallImageAreRefused) {
  const std::string small = dir_.Path("small");
  WriteFile(small, "small");
  const Result result = Mirror({"--writers", "2", small, to_a_});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, HasSubstr("has 5 bytes; for 2 writers it needs 8192"));
  EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "small"));
}

TEST_F(JobctlMirrorTest, WhatCannotBeWrittenIsNoTarget) {
  const char* const kReadOnly = "/sys/kernel/uevent_seqnum";  // whoever one is
  if (access(kReadOnly, F_OK) != 0 || UniqueFd(open(kReadOnly, O_RDWR))) GTEST_SKIP() << "no such file";
  const Result result = Mirror({"--force", a_, kReadOnly});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, ContainsRegex("'/sys/kernel.*': (Permission denied|Read-only|1048576 bytes are needed)"));
}

TEST_F(JobctlMirrorTest, ImageThatAnotherProcessUsesIsRefused) {
  WriteFile(to_a_, std::string(1 << 20, 'x'));
  const struct {
    std::string used;
    bool writes;
    Words arguments;
    const char* message;
  } kCases[] = {
      {a_, true, {a_, to_b_}, "a': another process, or another node, writes to it"},
      {a_, false, {"--writers", "1", a_, to_b_}, "a' for writing: another process, or another node, uses it"},
      {to_a_, false, {"--force", a_, to_a_}, "to-a.img' for writing: another process, or another node, uses it"},
  };
  for (const auto& c : kCases) {
    const UniqueFd user(open(c.used.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(jobcore::internal::LockImage(user.get(), c.used, c.writes, /*required=*/true).ok());
    const Result result = Mirror(c.arguments);
    EXPECT_EQ(result.exit_status, 2);
    EXPECT_THAT(result.err, HasSubstr(c.message));
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img"));
  }
  const UniqueFd reader(open(a_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(jobcore::internal::LockImage(reader.get(), a_, /*writes=*/false, /*required=*/true).ok());
  EXPECT_EQ(Mirror({a_, to_b_}).exit_status, 0) << "a source may be read by others";
}

// --- The rehearsal ---

TEST_F(JobctlMirrorTest, WritersGoOnInTheTargetAndLoseNothing) {
  for (const char* mode : {"background", "write-blocking"}) {
    ChildProcess child(Command(
        {"--json", "--copy-mode", mode, "--complete", "manual", "--writers", "3", "--ledger", ledger_, a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("\"switch-over\""));
    // Now to what has been copied already, and they do not stop.
    const std::string ready = ReadFile(a_);
    while (ChangedBlocks(ready, ReadFile(a_)) < 100) std::this_thread::yield();
    child.Send("y\n");
    EXPECT_EQ(child.Wait(), 0) << child.err();
    const std::string& out = child.out();
    EXPECT_GE(Number(out, "acknowledged-before-switch"), 100u - 3) << out;  // those in flight may come later
    EXPECT_GE(Number(out, "acknowledged-after-switch"), 3u) << out;
    EXPECT_EQ(Number(out, "lost"), 0u) << out;
    const Result proof = Verify(to_a_, ledger_);
    EXPECT_EQ(proof.exit_status, 0) << proof.err;
    EXPECT_EQ(proof.out, absl::StrCat("all ", Number(out, "blocks"), " blocks are in '", to_a_, "'\n"));
    EXPECT_EQ(Verify(a_, ledger_).exit_status, 1) << "they wrote elsewhere after the switch";
    unlink(to_a_.c_str());
    unlink(ledger_.c_str());
  }
}

TEST_F(JobctlMirrorTest, LedgerFindsTheBlockThatIsWrongAndOthersCanCheckIt) {
  ASSERT_EQ(Mirror({"--writers", "1", "--ledger", ledger_, b_, to_b_}).exit_status, 0);
  const Words lines = absl::StrSplit(ReadFile(ledger_), '\n');
  const Words line = absl::StrSplit(lines[lines.size() / 2], ' ');
  ASSERT_EQ(line.size(), 3u);
  // As gzip computes it.
  ChildProcess gzip({"sh", "-c",
                     absl::StrCat("tail -c +", std::stoull(line[0]) + 1, " '", to_b_,
                                  "' | head -c 4096 | gzip -c | tail -c 8 | od -An -tx4 -N4")});
  EXPECT_EQ(gzip.Wait(), 0);
  EXPECT_EQ(gzip.out(), " " + line[2] + "\n");

  const UniqueFd image(open(to_b_.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(pwrite(image.get(), "x", 1, std::stoll(line[0]) + 4095), 1);
  const Result result = Verify(to_b_, ledger_);
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_EQ(result.err,
            absl::StrCat("jobctl: the block at offset ", line[0], ", write ", line[1], ", is not in '", to_b_, "'\n"));
  EXPECT_THAT(result.out, StartsWith("1 of "));
}

TEST_F(JobctlMirrorTest, WhatIsNoLedgerIsRefused) {
  EXPECT_EQ(Verify(a_, dir_.Path("nope")).exit_status, 2);
  EXPECT_EQ(Verify(a_, dir_.path()).exit_status, 2);
  const Result none = Verify(a_, b_);
  EXPECT_EQ(none.exit_status, 2);
  EXPECT_THAT(none.err, HasSubstr("b' is no ledger; `jobctl mirror --writers N --ledger FILE` writes one"));
  ASSERT_EQ(Mirror({"--writers", "1", "--ledger", ledger_, b_, to_b_}).exit_status, 0);
  EXPECT_EQ(Verify(dir_.Path("nope"), ledger_).exit_status, 2);
  const Result directory = Verify(dir_.path(), ledger_);
  EXPECT_EQ(directory.exit_status, 2);
  EXPECT_THAT(directory.err, HasSubstr("it is a directory, not a regular file"));
  const std::string whole = ReadFile(ledger_);
  const std::string cut = whole.substr(0, whole.rfind("# end"));
  WriteFile(ledger_, cut + "4096 some 12\n");
  EXPECT_THAT(Verify(to_b_, ledger_).err, ContainsRegex("ledger', line [0-9]+, is not a new offset"));
  WriteFile(ledger_, cut);
  EXPECT_THAT(Verify(to_b_, ledger_).err, ContainsRegex("ledger' has been cut off after line [0-9]+"));
}

TEST_F(JobctlMirrorTest, LedgerIsNotWrittenOverAnythingElse) {
  WriteFile(ledger_, "precious");
  const Result exists = Mirror({"--writers", "1", "--ledger", ledger_, b_, to_b_});
  EXPECT_EQ(exists.exit_status, 2);
  EXPECT_THAT(exists.err, HasSubstr("ledger' exists, and is not replaced"));
  EXPECT_EQ(ReadFile(ledger_), "precious");
  EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "ledger"));
  // Nor over the target that is only made in between: the clients' writes are there.
  const Result target = Mirror({"--writers", "1", "--ledger", to_b_, b_, to_b_});
  EXPECT_EQ(target.exit_status, 1);
  EXPECT_THAT(target.err + target.out, HasSubstr("File exists"));
  EXPECT_EQ(ReadFile(to_b_).size(), ReadFile(b_).size());
}

TEST_F(JobctlMirrorTest, WhoCannotReadTheSourceCannotReadTheCopy) {
  ASSERT_EQ(chmod(a_.c_str(), 0600), 0);
  ASSERT_EQ(Mirror({a_, to_a_}).exit_status, 0);
  EXPECT_EQ(Stat(to_a_).st_mode & 0777, 0600u);
}

TEST_F(JobctlMirrorTest, JsonHasOneObjectPerLine) {
  const Result result = Mirror({"--json", "--group", "--writers", "2", a_, to_a_, b_, to_b_});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  Words lines = absl::StrSplit(result.out, '\n');
  ASSERT_GE(lines.size(), 10u);
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  for (const std::string& line : lines) {
    EXPECT_THAT(line, StartsWith("{\"type\":\""));
    EXPECT_THAT(line, EndsWith("}"));
  }
  EXPECT_THAT(lines[lines.size() - 3], StartsWith("{\"type\":\"writers\",\"time\":"));
  EXPECT_THAT(lines[lines.size() - 3], HasSubstr(",\"job\":\"to-a\",\"acknowledged-before-switch\":"));
  EXPECT_THAT(lines[lines.size() - 2], HasSubstr(",\"job\":\"to-b\",\"acknowledged-before-switch\":"));
  EXPECT_THAT(lines.back(), StartsWith("{\"type\":\"summary\""));
}

// --- Who decides ---

TEST_F(JobctlMirrorTest, AnswerSwitchesOverKeepsOrCancels) {
  const struct {
    const char* input;
    int exit_status;
    const char* writers;
  } kCases[] = {
      {"y\n", 0, "after it; all [0-9]+ blocks found in '.*to-a.img'"},
      {"s\n", 0, "after it; all [0-9]+ blocks found in '.*to-a.img'"},
      {"k\n", 0, "writes acknowledged, no switch-over; all [0-9]+ blocks found in '.*/a'"},
      {"n\n", 130, "writes acknowledged, no switch-over; all [0-9]+ blocks found in '.*/a'"},
      {"", 130, "writes acknowledged, no switch-over; all [0-9]+ blocks found in '.*/a'"},
  };
  for (const auto& c : kCases) {
    const Result result = Mirror({"--complete", "manual", "--writers", "2", "--ledger", ledger_, a_, to_a_}, c.input);
    EXPECT_EQ(result.exit_status, c.exit_status) << c.input << result.err;
    EXPECT_THAT(result.out, HasSubstr("switch over to-a? [y/k/N]\n"));
    EXPECT_THAT(result.out, ContainsRegex(c.writers));
    if (c.exit_status == 0) {
      EXPECT_EQ(unlink(to_a_.c_str()), 0);
    } else {
      EXPECT_EQ(Verify(a_, ledger_).exit_status, 0) << "the source is as its clients know it";
    }
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "ledger"));
    EXPECT_EQ(unlink(ledger_.c_str()), 0);
  }
}

TEST_F(JobctlMirrorTest, AsksForAllAtOnceAndForEachDecisionOnItsOwn) {
  const Result result = Mirror({"--complete", "manual", "--finalize", "manual", a_, to_a_, b_, to_b_}, "y\ny\n");
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("switch over to-a, to-b? [y/k/N]\n"));
  EXPECT_THAT(result.out, HasSubstr("finalize to-a, to-b? [y/N]\n"));
  EXPECT_TRUE(ReadFile(to_a_) == ReadFile(a_));
  EXPECT_TRUE(ReadFile(to_b_) == ReadFile(b_));
}

TEST_F(JobctlMirrorTest, SignalCancelsAndTakesAwayWhatWasMade) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    for (const char* moment : {"running", "ready", "switch over"}) {
      ChildProcess child(Command({"--group", "--complete", "manual", a_, to_a_, b_, to_b_}));
      ASSERT_TRUE(child.ReadUntil(moment));
      child.Kill(signal);
      ASSERT_TRUE(child.ReadUntil("concluded"));
      EXPECT_EQ(child.Wait(), 130) << moment;
      EXPECT_THAT(child.err(), HasSubstr("jobctl: cancelling"));
      ExpectNoTrace();
    }
  }
}

TEST_F(JobctlMirrorTest, SecondSignalLeavesNothingEither) {
  for (int i = 0; i < 5; ++i) {
    ChildProcess child(Command({"--complete", "manual", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("switch over"));
    child.Kill(SIGINT);
    child.Kill(SIGTERM);
    EXPECT_EQ(child.Wait(), 130);
    ExpectNoTrace();
  }
}

TEST_F(JobctlMirrorTest, WhatSomebodyElseHasPutInTheTargetsPlaceIsNotRemoved) {
  ChildProcess child(Command({"--complete", "manual", a_, to_a_}));
  ASSERT_TRUE(child.ReadUntil("switch over"));
  WriteFile(to_a_, "precious");
  child.Kill(SIGINT);
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_EQ(ReadFile(to_a_), "precious");
}

TEST_F(JobctlMirrorTest, FailureIsOneAndPairsWithoutGroupAreIndependent) {
  for (const bool group : {false, true}) {
    WriteFile(to_a_, "old a");
    WriteFile(to_b_, "old b");
    ChildProcess child(
        Command({"--force", group ? "--group" : "--no-sync", "--complete", "manual", a_, to_a_, b_, to_b_}));
    ASSERT_TRUE(child.ReadUntil("switch over"));
    Touch(a_);
    child.Send("y\n");
    EXPECT_EQ(child.Wait(), 1);
    EXPECT_THAT(child.err(), ContainsRegex("jobctl: to-a: .*/a' has been modified since it was opened"));
    EXPECT_TRUE(ReadFile(to_a_) == "old a");
    EXPECT_EQ(ReadFile(to_b_) == "old b", group);
    EXPECT_THAT(dir_.Names(), ElementsAre("a", "b", "to-a.img", "to-b.img"));
  }
}

TEST_F(JobctlMirrorTest, ASourceThatSomebodyElseCutsFailsTheMirrorWhoeverWrites) {
  for (const bool writers : {false, true}) {
    ChildProcess child(Command({"--complete", "manual", writers ? "--writers" : "--in-flight", "1", a_, to_a_}));
    ASSERT_TRUE(child.ReadUntil("switch over"));
    ASSERT_EQ(truncate(a_.c_str(), writers ? (1 << 20) + 4096 : 4096), 0);
    child.Send("y\n");
    EXPECT_EQ(child.Wait(), 1);
    EXPECT_THAT(child.err(), ContainsRegex(writers ? "/a' has grown since .* from 1048576 to 1052672 bytes"
                                                   : "/a' has shrunk since .* from 1048576 to 4096 bytes"));
    EXPECT_FALSE(jobcore_test::Exists(to_a_));
    WriteFile(a_, Pattern(1 << 20, 1));
  }
}

TEST_F(JobctlMirrorTest, APartOfTheSourceThatIsNotThereIsNoZeros) {
  ChildProcess child(Command({"--speed", "100k", "--in-flight", "1", a_, to_a_}));
  ASSERT_TRUE(child.ReadUntil("running"));
  ASSERT_EQ(truncate(a_.c_str(), 4096), 0);
  EXPECT_EQ(child.Wait(), 1);
  EXPECT_THAT(child.err(), ContainsRegex("jobctl: to-a: .*/a' has shrunk since .* from 1048576 to 4096 bytes"));
  EXPECT_FALSE(jobcore_test::Exists(to_a_));
}

TEST_F(JobctlMirrorTest, TargetThatCannotBeMadeTakesThoseThatWereMadeAlong) {
  Words command = {"sh", "-c", "ulimit -f 1000; exec \"$@\"", "sh"};
  const Words arguments = Command({b_, to_b_, a_, to_a_});
  command.insert(command.end(), arguments.begin(), arguments.end());
  const Result result = Run(command);
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, ContainsRegex("to-a.img' at offset 1048576: File too large"));
  ExpectNoTrace();
}

TEST_F(JobctlMirrorTest, OnErrorStopPausesTheJob) {
  const std::string large = dir_.Path("large");
  WriteFile(large, Pattern(64 << 20, 3));
  Words command = {"env", "TERM=xterm"};
  const Words arguments = Command({"--on-error", "stop", "--speed", "2m", large, to_a_});
  command.insert(command.end(), arguments.begin(), arguments.end());
  TerminalChild child(command);
  ASSERT_TRUE(child.ReadUntil("running"));
  ASSERT_EQ(truncate(large.c_str(), 0), 0);
  ASSERT_TRUE(child.ReadUntil("paused \\(error\\)"));
  EXPECT_THAT(child.Text(), HasSubstr("\nr resume  c cancel\n"));
  child.Type("c");
  EXPECT_EQ(child.Wait(), 130);
}

TEST_F(JobctlMirrorTest, OnATerminalTheKeysAreShownAndSwitchOver) {
  for (const char* key : {"s", "k"}) {
    Words command = {"env", "-u", "NO_COLOR", "TERM=xterm", "LC_ALL=C.UTF-8"};
    const Words mirror = Command({"--complete", "manual", "--finalize", "manual", "--writers", "1", a_, to_a_});
    command.insert(command.end(), mirror.begin(), mirror.end());
    TerminalChild child(command);
    ASSERT_TRUE(child.ReadUntil("B behind .*ready\nall are ready:  s switch over  k keep the copy  c cancel\n"));
    child.Type(key);
    ASSERT_TRUE(child.ReadUntil("100%.* pending\nall is copied:  f finalize  c cancel\n"));
    child.Type("f");
    EXPECT_EQ(child.Wait(), 0);
    EXPECT_THAT(child.Text(), HasSubstr(*key == 's' ? "after it; all " : "no switch-over; all "));
    EXPECT_TRUE(child.IsCooked());
    unlink(to_a_.c_str());
  }
}

}  // namespace

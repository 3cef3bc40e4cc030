// SPDX-License-Identifier: Apache-2.0
//
// jobctl as a client of jobcored, and of the reference's daemon where that is installed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "block/terminal_child.h"
#include "tools/daemon_child.h"
#include "tools/proxy.h"

namespace {

using jobcore_test::ChildProcess;
using jobcore_test::DaemonChild;
using jobcore_test::Proxy;
using jobcore_test::ReadFile;
using jobcore_test::Remote;
using jobcore_test::Result;
using jobcore_test::RunProgram;
using jobcore_test::TempDir;
using jobcore_test::TerminalChild;
using jobcore_test::Words;
using jobcore_test::WriteFile;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class JobctlRemoteTest : public ::testing::Test {
 protected:
  Result Do(const Words& arguments) const { return RunProgram(Remote(daemon_.socket(), arguments)); }
  void ExpectDone(const Words& arguments) const {
    const Result result = Do(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.err, IsEmpty());
  }
  void ExpectRefused(const Words& arguments, const std::string& message) const {
    const Result result = Do(arguments);
    EXPECT_EQ(result.exit_status, 1) << result.out;
    EXPECT_EQ(result.err, "jobctl: " + message + "\n");
  }
  // Backups and mirrors that take longer than any test.
  void StartSlow(const std::string& command, const Words& nodes) const {
    Words arguments = {command, "--speed", "64k"};
    arguments.insert(arguments.end(), nodes.begin(), nodes.end());
    ExpectDone(arguments);
  }

  DaemonChild daemon_{{"a", "b", "c", "d"}};
};

TEST_F(JobctlRemoteTest, ListsJobsAndShowsOne) {
  EXPECT_THAT(Do({"list"}).out, IsEmpty());
  StartSlow("backup", {"a", "b"});
  StartSlow("mirror", {"c", "d"});
  EXPECT_THAT(Do({"list"}).out,
              MatchesRegex("b  backup +[0-9]+% +[0-9.]+ [KM]?i?B of 4.0 MiB .* running +limit 64.0 KiB/s\n"
                           "d  mirror +[0-9]+% +[0-9.]+ [KM]?i?B of 4.0 MiB .* running +limit 64.0 KiB/s\n"));
  const Result json = Do({"list", "--json"});
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"id\":\"d\""), HasSubstr("\"type\":\"mirror\"")));
  EXPECT_THAT(Do({"show", "b"}).out, MatchesRegex("(.*\n)*id +b\n(.*\n)*status +running\n(.*\n)*"));
  EXPECT_THAT(Do({"show", "b", "--json"}).out, HasSubstr("\"status\":\"running\""));
  ExpectRefused({"show", "x"}, "there is no job 'x'");
}

TEST_F(JobctlRemoteTest, VerbsActAndWhatIsRefusedSaysWhy) {
  StartSlow("backup", {"a", "b"});
  ExpectDone({"pause", "b"});
  EXPECT_THAT(Do({"show", "b"}).out, HasSubstr("paused"));
  ExpectRefused({"pause", "b"}, "b: Job is already paused");
  ExpectDone({"resume", "b"});
  ExpectDone({"set-speed", "b", "65k"});
  ExpectRefused({"complete", "x"}, "x: Job not found");
  EXPECT_EQ(Do({"complete", "b"}).exit_status, 1);
  ExpectDone({"cancel", "b"});
}

TEST_F(JobctlRemoteTest, FinalizeAndDismissEndAJobThatWaitsForThem) {
  ExpectDone({"backup", "a", "b", "--finalize", "manual", "--keep"});
  ChildProcess watch(Remote(daemon_.socket(), {"watch", "b"}));
  ASSERT_TRUE(watch.ReadUntil("pending"));
  ExpectDone({"finalize", "b"});
  EXPECT_EQ(watch.Wait(), 0);
  EXPECT_THAT(Do({"list"}).out, HasSubstr("concluded (succeeded)\n"));
  ExpectDone({"dismiss", "b"});
  EXPECT_THAT(Do({"list"}).out, IsEmpty());
}

TEST_F(JobctlRemoteTest, WatchEndsWithTheJobsAndSaysHowTheyEnded) {
  StartSlow("backup", {"a", "b"});
  StartSlow("backup", {"c", "d"});
  ChildProcess both(Remote(daemon_.socket(), {"watch", "b", "d"}));
  ASSERT_TRUE(both.ReadUntil("running"));
  ExpectDone({"set-speed", "d", "0"});
  ASSERT_TRUE(both.ReadUntil("d  concluded"));
  ExpectDone({"cancel", "b"});
  EXPECT_EQ(both.Wait(), 130);
  EXPECT_THAT(both.out(), HasSubstr("b  concluded (cancelled)\n"));

  EXPECT_EQ(Do({"watch", "b"}).exit_status, 130) << "it has ended before";
  ExpectRefused({"watch", "x"}, "there is no job 'x'");
}

TEST_F(JobctlRemoteTest, AMirrorThatIsWatchedSwitchesOverUnlessSomebodyElseIsToSay) {
  ExpectDone({"mirror", "a", "b", "--watch"});
  EXPECT_TRUE(ReadFile(daemon_.Image("a")) == ReadFile(daemon_.Image("b")));

  ChildProcess waits(Remote(daemon_.socket(), {"mirror", "c", "d", "--watch", "--complete", "manual"}));
  ASSERT_TRUE(waits.ReadUntil("ready"));
  ExpectDone({"complete", "d"});
  EXPECT_EQ(waits.Wait(), 0);
}

TEST_F(JobctlRemoteTest, AGroupSucceedsOrFailsTogether) {
  ExpectDone({"backup", "--group", "--speed", "64k", "a", "b", "c", "d"});
  ChildProcess watch(Remote(daemon_.socket(), {"watch", "b", "d"}));
  ASSERT_TRUE(watch.ReadUntil("running"));
  ExpectDone({"cancel", "b"});
  EXPECT_EQ(watch.Wait(), 130);
  EXPECT_THAT(watch.out(), HasSubstr("d  concluded (cancelled)\n"));

  ExpectRefused({"backup", "--group", "a", "b", "c", "x"}, "Cannot find device='x' nor node-name='x'");
  EXPECT_THAT(Do({"list"}).out, IsEmpty()) << "none was started";
}

TEST_F(JobctlRemoteTest, OnATerminalEachJobHasALineWithABarPaintedInPlace) {
  ExpectDone({"backup", "--speed", "256k", "a", "b", "c", "d"});
  Words command = {"env", "-u", "NO_COLOR", "TERM=xterm", "LC_ALL=C.UTF-8"};
  const Words watch = Remote(daemon_.socket(), {"watch", "b", "d"});
  command.insert(command.end(), watch.begin(), watch.end());
  TerminalChild child(command, 120);
  EXPECT_TRUE(
      child.ReadUntil("b  backup  (█)*(░)+ +[0-9]+% .* of 4.0 MiB .*running.*\n"
                      "d  backup  (█)*(░)+ +[0-9]+% .* of 4.0 MiB .*running.*\n"));
  ExpectDone({"pause", "b"});
  EXPECT_TRUE(child.ReadUntil("b  backup .* paused \\(user\\)"));
  EXPECT_TRUE(child.screen().colored());
  ExpectDone({"cancel", "b"});
  EXPECT_TRUE(child.ReadUntil("\\[ +[0-9.]+\\]  b  cancelled\n"));
  ExpectDone({"set-speed", "d", "0"});
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_THAT(child.Text(), MatchesRegex("(.*\n)*\\[ +[0-9.]+\\]  d  done\n+"));
  EXPECT_TRUE(child.IsCooked());
}

TEST_F(JobctlRemoteTest, WhoIsNotThereIsSaid) {
  const TempDir dir;
  const Result nobody = RunProgram(Remote(dir.Path("no.sock"), {"list"}));
  EXPECT_EQ(nobody.exit_status, 1);
  EXPECT_THAT(nobody.err, HasSubstr("no.sock': No such file or directory\n"));
  EXPECT_EQ(RunProgram(Remote(std::string(200, 'x'), {"list"})).exit_status, 2);

  ChildProcess watch(Remote(daemon_.socket(), {"watch"}));
  StartSlow("backup", {"a", "b"});
  ASSERT_TRUE(watch.ReadUntil("running"));
  daemon_.process().Kill(SIGTERM);
  EXPECT_EQ(watch.Wait(), 1);
  EXPECT_THAT(watch.err(), HasSubstr("monitor.sock': the daemon has closed it\n"));
}

TEST_F(JobctlRemoteTest, BadInputIsRefused) {
  for (const Words& arguments : std::vector<Words>{{}, {"frobnicate"}, {"pause"}, {"backup", "a"}, {"show"}}) {
    EXPECT_EQ(Do(arguments).exit_status, 2);
  }
  EXPECT_EQ(RunProgram({JOBCTL_PATH, "--connect"}).exit_status, 2);
}

// The numbers of the events in lines of JSON.
std::vector<int> Numbers(const std::string& lines) {
  std::vector<int> numbers;
  for (size_t at = 0; (at = lines.find("\"seq\":", at)) != std::string::npos;) {
    at += std::string("\"seq\":").size();
    numbers.push_back(std::stoi(lines.substr(at)));
  }
  return numbers;
}

TEST_F(JobctlRemoteTest, EventsGoOnWhereTheyStoppedWhenAConnectionWasLost) {
  ExpectDone({"backup", "a", "b", "--watch"});
  const std::string path = daemon_.dir().Path("proxy.sock");
  Proxy proxy(path, daemon_.socket());
  ChildProcess events(Remote(path, {"events", "--json", "--from", "2"}));
  ASSERT_TRUE(events.ReadUntil("\"status\":\"null\""));
  proxy.Break();
  ExpectDone({"backup", "c", "d", "--watch"});  // nobody listens; or somebody does again
  ASSERT_TRUE(events.ReadUntil("\"id\":\"d\",\"number\":2,\"status\":\"null\""));
  events.Kill(SIGKILL);
  events.Wait();
  std::vector<int> expected;
  for (int number = 2; number <= 12; ++number) expected.push_back(number);
  EXPECT_EQ(Numbers(events.out()), expected) << events.out();
}

TEST_F(JobctlRemoteTest, EventsAreLinesForPeopleToo) {
  ChildProcess events(Remote(daemon_.socket(), {"events", "--from", "1", "--retry", "0"}));
  ExpectDone({"backup", "a", "b", "--watch"});
  ASSERT_TRUE(events.ReadUntil("b  concluded (succeeded)"));
  EXPECT_THAT(events.out(), MatchesRegex("\\[ +[0-9.]+\\] b  created\n\\[ +[0-9.]+\\] b  running\n(.*\n)*"));
  daemon_.process().Kill(SIGTERM);
  EXPECT_EQ(events.Wait(), 1);
  EXPECT_THAT(events.err(), HasSubstr("the daemon has closed it\n"));
  ExpectRefused({"events"}, "cannot connect to '" + daemon_.socket() + "': No such file or directory");
}

TEST_F(JobctlRemoteTest, ATraceHasTheJobsAndTheThreadsThatRanThem) {
  ExpectDone({"backup", "a", "b", "--watch"});
  StartSlow("mirror", {"c", "d"});
  ExpectDone({"pause", "d"});
  const std::string file = daemon_.dir().Path("trace.json");
  ExpectDone({"trace", file});
  const std::string trace = ReadFile(file);
  for (const char* part : {R"({"ph":"M","name":"process_name","pid":1,"tid":0,"args":{"name":"jobs"}})",
                           R"({"ph":"M","name":"thread_name","pid":1,"tid":1,"args":{"name":"b"}})",
                           R"({"ph":"X","cat":"job","name":"running","pid":1,"tid":1,"ts":)",
                           R"x("name":"concluded (succeeded)","pid":1,"tid":1,)x",
                           R"({"ph":"X","cat":"job","name":"running","pid":1,"tid":2,"ts":)",
                           R"({"ph":"b","cat":"main","name":"b","id":1,"pid":2,"tid":1,"ts":)",
                           R"({"ph":"M","name":"thread_name","pid":2,"tid":1,"args":{"name":"main"}})"}) {
    EXPECT_THAT(trace, HasSubstr(part));
  }
  EXPECT_EQ(Do({"trace", "/nowhere/trace"}).exit_status, 1);
}

TEST_F(JobctlRemoteTest, TheShellTakesCommandsLineByLine) {
  ChildProcess shell(Remote(daemon_.socket(), {"shell"}));
  shell.Send("# a comment\n\nbackup a b --speed 64k\nlist\npause x\n");
  EXPECT_EQ(shell.Wait(), 1) << "that of the last command";
  EXPECT_THAT(shell.out(), StartsWith("b  backup"));
  EXPECT_EQ(shell.err(), "jobctl: x: Job not found\n");
}

TEST_F(JobctlRemoteTest, TheShellCompletesCommandsAndJobsAndOutlivesCtrlC) {
#ifndef JOBCTL_HAS_LIBEDIT
  GTEST_SKIP() << "built without libedit";
#endif
  StartSlow("backup", {"a", "b"});
  Words command = {"env", "TERM=xterm", "LC_ALL=C.UTF-8"};
  const Words shell = Remote(daemon_.socket(), {"shell"});
  command.insert(command.end(), shell.begin(), shell.end());
  TerminalChild child(command);
  ASSERT_TRUE(child.ReadUntil("jobctl>"));
  child.Type("watch\n");
  ASSERT_TRUE(child.ReadUntil("running"));
  child.Type("\x03");
  ASSERT_TRUE(child.ReadUntil("\\^C(jobctl>)?\njobctl>|\\^Cjobctl>"));
  child.Type("canc\tb\t\n");
  ASSERT_TRUE(child.ReadUntil("el b *\njobctl>"));
  child.Type("quit\n");
  EXPECT_EQ(child.Wait(), 0) << child.Text();
  EXPECT_THAT(Do({"list"}).out, IsEmpty());
}

TEST_F(JobctlRemoteTest, BashCompletesCommandsOptionsAndJobs) {
  StartSlow("backup", {"a", "b"});
  const auto complete = [](const std::string& words) {
    const Result result = RunProgram({"bash", "-c",
                                      "source " JOBCTL_COMPLETION "; COMP_WORDS=(" + words +
                                          "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _jobctl; "
                                          "echo \"${COMPREPLY[@]}\""});
    EXPECT_THAT(result.err, IsEmpty());
    return result.out;
  };
  const std::string program = JOBCTL_PATH, remote = program + " --connect " + daemon_.socket();
  EXPECT_EQ(complete(program + " ex"), "export\n");
  EXPECT_EQ(complete(program + " --c"), "--connect\n");
  EXPECT_EQ(complete(remote + " dis"), "dismiss\n");
  EXPECT_EQ(complete(remote + " mirror --wr"), "--write-blocking\n");
  EXPECT_EQ(complete(remote + " pause ''"), "b\n");
}

// What only has the commands of the reference.
class ReferenceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (RunProgram({"qemu-storage-daemon", "--version"}).exit_status != 0) GTEST_SKIP() << "it is not installed";
    for (const char* name : {"a", "b"})
      WriteFile(dir_.Path(std::string(name) + ".img"), jobcore_test::Pattern(4 << 20));
    // It is a daemon when its socket is there.
    const Result started = RunProgram({"qemu-storage-daemon", "--daemonize", "--pidfile", dir_.Path("pid"), "--chardev",
                                       "socket,id=m,server=on,wait=off,path=" + socket(), "--monitor", "chardev=m",
                                       "--blockdev", "driver=file,node-name=a,filename=" + dir_.Path("a.img"),
                                       "--blockdev", "driver=file,node-name=b,filename=" + dir_.Path("b.img")});
    ASSERT_EQ(started.exit_status, 0) << started.err;
  }
  void TearDown() override {
    if (jobcore_test::Exists(dir_.Path("pid"))) kill(std::stoi(ReadFile(dir_.Path("pid"))), SIGKILL);
  }
  std::string socket() const { return dir_.Path("monitor.sock"); }
  Result Do(const Words& arguments) const { return RunProgram(Remote(socket(), arguments)); }

  const TempDir dir_;
};

TEST_F(ReferenceTest, WhatItUnderstandsWorks) {
  EXPECT_EQ(Do({"backup", "a", "b", "--speed", "64k"}).exit_status, 0);
  EXPECT_THAT(Do({"list"}).out, MatchesRegex("b  backup +[0-9]+% .* of 4.0 MiB .*running\n"));
  EXPECT_EQ(Do({"pause", "b"}).exit_status, 0);
  EXPECT_EQ(Do({"resume", "b"}).exit_status, 0);
  EXPECT_EQ(Do({"set-speed", "b", "0"}).exit_status, 0);
  EXPECT_EQ(Do({"cancel", "x"}).err, "jobctl: x: Job not found\n");
  EXPECT_EQ(Do({"trace", dir_.Path("t")}).err, "jobctl: the daemon keeps no events: there is nothing to trace\n");
  // Ends before anybody can look, perhaps: what it has told is not lost.
  EXPECT_EQ(Do({"watch", "b"}).exit_status / 2, 0);
  const Result mirrored = Do({"mirror", "a", "b", "--watch"});
  EXPECT_EQ(mirrored.exit_status, 0) << mirrored.err;
  EXPECT_THAT(mirrored.out, AllOf(HasSubstr("b  ready\n"), HasSubstr("b  concluded\n")));
}

}  // namespace

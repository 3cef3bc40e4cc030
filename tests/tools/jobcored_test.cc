// SPDX-License-Identifier: Apache-2.0
//
// jobcored as a program: how it starts, what it says, and how it ends.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tools/daemon_child.h"

namespace {

using jobcore_test::AddNode;
using jobcore_test::ChildProcess;
using jobcore_test::DaemonChild;
using jobcore_test::Exists;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::Remote;
using jobcore_test::Result;
using jobcore_test::RunProgram;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

TEST(JobcoredTest, TellsItsSupervisorWhenItCanBeUsedAndWhenItEnds) {
  DaemonChild daemon({});  // waits for READY=1
  EXPECT_EQ(RunProgram(Remote(daemon.socket(), {"list"})).exit_status, 0);
  daemon.process().Kill(SIGTERM);
  EXPECT_EQ(daemon.supervisor().Receive(), "STOPPING=1");
  EXPECT_EQ(daemon.process().Wait(), 0);
  EXPECT_THAT(daemon.process().err(), IsEmpty());
}

TEST(JobcoredTest, CarriesOutItsConfigurationFirst) {
  DaemonChild daemon({"a", "b"});
  const Result copied = RunProgram(Remote(daemon.socket(), {"backup", "a", "b", "--watch"}));
  EXPECT_EQ(copied.exit_status, 0) << copied.err;
  EXPECT_TRUE(ReadFile(daemon.Image("a")) == ReadFile(daemon.Image("b")));
}

class ConfigTest : public ::testing::Test {
 protected:
  // What it says about that file, and its exit status.
  Result Start(const std::string& config) {
    WriteFile(dir_.Path("start.json"), config);
    return RunProgram({JOBCORED_PATH, "--qmp", "unix:" + dir_.Path("m.sock"), "--config", dir_.Path("start.json")});
  }
  const TempDir dir_;
};

TEST_F(ConfigTest, TheCommandThatFailsIsNamedWithItsPlace) {
  WriteFile(dir_.Path("a.img"), Pattern(4096));
  const std::string good = AddNode(dir_.path(), "a");
  const struct {
    std::string config;
    std::string message;
  } kCases[] = {
      {good + AddNode(dir_.path(), "nope"), "line 2: blockdev-add: Could not open '"},
      {good + "\n{\"execute\":\n \"frobnicate\"}", "line 3: frobnicate: The command frobnicate has not been found"},
      {good + "{\"execute\": \"query-jobs\"} {\"execute\": \"job-pause\", \"arguments\": {\"id\": \"x\"}}",
       "line 2: job-pause: Job not found"},
      {"{\"execute\": \"query-jobs\"", "line 1: the command that begins there has no end"},
      {"\n\n}", "line 3: JSON parse error"},
      {"[]", "line 1: QMP input must be a JSON object"},
  };
  for (const auto& c : kCases) {
    const Result result = Start(c.config);
    EXPECT_EQ(result.exit_status, 2) << c.config;
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat("jobcored: '", dir_.Path("start.json"), "', ", c.message)));
    EXPECT_FALSE(Exists(dir_.Path("m.sock"))) << "nobody was to see it";
  }
}

TEST_F(ConfigTest, AStartThatFailsEndsTheJobsThatItHasStarted) {
  for (const char* name : {"a", "b"}) WriteFile(dir_.Path(absl::StrCat(name, ".img")), Pattern(1 << 20));
  const Result result = Start(AddNode(dir_.path(), "a") + AddNode(dir_.path(), "b") +
                              R"({"execute": "blockdev-backup", "arguments": {"job-id": "j", "device": "a",
                                  "target": "b", "sync": "full", "speed": 1024}}
                                 {"execute": "nope"})");
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, HasSubstr("nope has not been found"));
}

TEST_F(ConfigTest, AFileThatIsMissingIsAnError) {
  const Result result =
      RunProgram({JOBCORED_PATH, "--qmp", "unix:" + dir_.Path("m.sock"), "--config", dir_.Path("gone")});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, EndsWith("gone': No such file or directory\n"));
}

TEST(JobcoredTest, ThePidfileIsItsOwnWhileItRuns) {
  const TempDir dir;
  const std::string pidfile = dir.Path("pid");
  DaemonChild daemon({}, {"--pidfile", pidfile});
  EXPECT_THAT(ReadFile(pidfile), ::testing::MatchesRegex("[0-9]+\n"));
  const Result second = RunProgram({JOBCORED_PATH, "--qmp", "unix:" + dir.Path("m.sock"), "--pidfile", pidfile});
  EXPECT_EQ(second.exit_status, 2);
  EXPECT_THAT(second.err, HasSubstr("pid' is another process's"));
  EXPECT_TRUE(Exists(pidfile));
  EXPECT_EQ(kill(std::stoi(ReadFile(pidfile)), SIGTERM), 0);
  EXPECT_EQ(daemon.process().Wait(), 0);
  EXPECT_FALSE(Exists(pidfile));
}

TEST(JobcoredTest, LogsWhatItsLevelLetsThrough) {
  for (const char* level : {"off", "warning", "info", "debug"}) {
    DaemonChild daemon({"a", "b"}, {"--log-level", level});
    ASSERT_EQ(RunProgram(Remote(daemon.socket(), {"backup", "a", "b", "--watch"})).exit_status, 0);
    daemon.process().Kill(SIGTERM);
    EXPECT_EQ(daemon.process().Wait(), 0);
    const std::string& log = daemon.process().err();
    const bool info = level == std::string("info"), debug = level == std::string("debug");
    EXPECT_EQ(log.find(" info: job 'b' concluded (succeeded)\n") != std::string::npos, info || debug) << log;
    EXPECT_EQ(log.find(" debug: command blockdev-backup\n") != std::string::npos, debug) << log;
    EXPECT_EQ(log.empty(), !info && !debug);
  }
}

// What is answered to `request` at the socket, until the end of the connection.
std::string Ask(const std::string& socket, const std::string& request) {
  ChildProcess client({"socat", "-t10", "-", "UNIX-CONNECT:" + socket});
  client.Send(request);
  client.Wait();
  return client.out();
}

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (RunProgram({"socat", "-V"}).exit_status != 0) GTEST_SKIP() << "socat is not installed";
  }
  const TempDir dir_;
  const std::string socket_ = dir_.Path("metrics.sock");
};

TEST_F(MetricsTest, CountJobsAndEvents) {
  DaemonChild daemon({"a", "b", "c", "d"}, {"--metrics", "unix:" + socket_});
  ASSERT_EQ(RunProgram(Remote(daemon.socket(), {"backup", "a", "b", "--watch"})).exit_status, 0);
  ASSERT_EQ(RunProgram(Remote(daemon.socket(), {"backup", "c", "d", "--speed", "64k"})).exit_status, 0);
  const std::string answer = Ask(socket_, "GET /metrics?x=y HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  for (const char* line : {"# TYPE jobcore_jobs gauge\n", "jobcore_jobs{status=\"running\"} 1\n",
                           "jobcore_jobs{status=\"paused\"} 0\n", "jobcore_jobs_ended_total{outcome=\"succeeded\"} 1\n",
                           "jobcore_events_total 8\n", "jobcore_monitor_clients 0\n"}) {
    EXPECT_THAT(answer, HasSubstr(line));
  }
  EXPECT_THAT(answer, AllOf(HasSubstr("jobcore_mutex_profiled 0\n"), Not(HasSubstr("acquisitions"))));
  Ask(daemon.socket(), R"({"execute": "qmp_capabilities"}
                          {"execute": "x-query-contention", "arguments": {"enable": true}})");
  EXPECT_THAT(Ask(socket_, "GET /metrics HTTP/1.0\r\n\r\n"), HasSubstr("\njobcore_mutex_acquisitions_total "));
  daemon.process().Kill(SIGTERM);
  EXPECT_EQ(daemon.process().Wait(), 0);
  EXPECT_FALSE(Exists(socket_));
}

TEST_F(MetricsTest, OtherRequestsAreRefused) {
  DaemonChild daemon({}, {"--metrics", "unix:" + socket_});
  EXPECT_THAT(Ask(socket_, "GET / HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask(socket_, "POST /metrics HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(Ask(socket_, "hello\n\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Ask(socket_, std::string(9000, 'x')), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Ask(socket_, "GET /metrics HTTP/1.0\n"), IsEmpty()) << "it has gone before it has asked";
}

TEST_F(MetricsTest, AnAddressThatIsNoneEndsTheStart) {
  for (const char* address : {"nowhere", "127.0.0.1", "127.0.0.1:99999", "localhost:1", "unix:"}) {
    const Result result = RunProgram({JOBCORED_PATH, "--qmp", "unix:" + dir_.Path("m.sock"), "--metrics", address});
    EXPECT_EQ(result.exit_status, 2) << address;
    EXPECT_THAT(result.err, StartsWith("jobcored: "));
  }
}

}  // namespace

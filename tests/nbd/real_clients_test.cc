// SPDX-License-Identifier: Apache-2.0
//
// Programs that other people have written, with `jobctl export`.

#include <signal.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "block/child_process.h"
#include "block/test_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#ifdef JOBCTL_PATH

namespace jobcore_test {
namespace {

using ::testing::HasSubstr;

bool Installed(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
}

class RealClients : public ::testing::TestWithParam<bool> {  // over TCP
 protected:
  static constexpr uint64_t kSize = 16 << 20;

  void SetUp() override {
    WriteSparseFile(image, kSize, {{1 << 20, data}, {kSize - 4096, Pattern(4096, 2)}});
    Export();
  }
  void Export(std::vector<std::string> options = {}) {
    std::vector<std::string> command = {JOBCTL_PATH, "export", image, "--name", "disk"};
    if (GetParam()) {
      command.insert(command.end(), {"--port", "0"});
    } else {
      command.insert(command.end(), {"--socket", dir.Path("nbd.sock")});
    }
    command.insert(command.end(), options.begin(), options.end());
    server = std::make_unique<ChildProcess>(command);
    const std::optional<std::string> line = server->ReadLine();
    ASSERT_TRUE(line.has_value());
    const std::string at = " is at ", name = ", export 'disk'";
    const size_t begin = line->find(at);
    ASSERT_NE(begin, std::string::npos) << *line;
    const std::string address = line->substr(begin + at.size(), line->find(name) - begin - at.size());
    const size_t query = address.find("/?");
    uri =
        query == std::string::npos ? address + "/disk" : address.substr(0, query) + "/disk" + address.substr(query + 1);
  }
  void EndExport() {
    if (server == nullptr) return;
    server->Kill(SIGTERM);
    EXPECT_EQ(server->Wait(), 0) << server->err();
    EXPECT_EQ(server->err(), "");
    server.reset();
  }
  void TearDown() override { EndExport(); }
  // What it prints.
  std::string Run(const std::vector<std::string>& command, int status = 0) {
    ChildProcess program(command);
    EXPECT_EQ(program.Wait(), status) << program.out() << program.err();
    return program.out() + program.err();
  }

  TempDir dir;
  const std::string image = dir.Path("image");
  const std::string data = Pattern(3 << 20);
  std::unique_ptr<ChildProcess> server;
  std::string uri;
};

#define SKIP_WITHOUT(program) \
  if (!Installed(program)) GTEST_SKIP() << program << " is not installed"

TEST_P(RealClients, Nbdinfo) {
  SKIP_WITHOUT("nbdinfo");
  const std::string info = Run({"nbdinfo", uri});
  for (const char* expected : {"newstyle-fixed", "structured", "base:allocation", "can_multi_conn: true",
                               "can_fua: true", "can_fast_zero: false", "block_size_maximum: 33554432"}) {
    EXPECT_THAT(info, HasSubstr(expected));
  }
  EXPECT_THAT(Run({"nbdinfo", "--list", uri}), HasSubstr("export=\"disk\""));
  EXPECT_THAT(Run({"nbdinfo", "--map", uri}), HasSubstr("hole,zero"));
}

TEST_P(RealClients, NbdcopyThereAndBack) {
  SKIP_WITHOUT("nbdcopy");
  const std::string copy = dir.Path("copy"), other = dir.Path("other");
  Run({"nbdcopy", uri, copy});
  EXPECT_TRUE(ReadFile(copy) == ReadFile(image));
  WriteSparseFile(other, kSize, {{5 << 20, Pattern(1 << 20, 3)}});
  Run({"nbdcopy", "--flush", other, uri});
  EXPECT_TRUE(ReadFile(other) == ReadFile(image));
}

TEST_P(RealClients, QemuImg) {
  SKIP_WITHOUT("qemu-img");
  const std::string copy = dir.Path("copy");
  EXPECT_THAT(Run({"qemu-img", "info", uri}), HasSubstr("16 MiB"));
  EXPECT_THAT(Run({"qemu-img", "map", "--output=json", uri}), HasSubstr("\"zero\": true"));
  Run({"qemu-img", "convert", "-f", "raw", "-O", "raw", uri, copy});
  EXPECT_TRUE(ReadFile(copy) == ReadFile(image));
  Run({"qemu-img", "bench", "-f", "raw", "-c", "500", "-d", "32", "-w", "--flush-interval", "50", uri});
}

TEST_P(RealClients, QemuIo) {
  SKIP_WITHOUT("qemu-io");
  const std::string out = Run({"qemu-io",
                               "-f",
                               "raw",
                               "-c",
                               "write -P 7 1M 64k",
                               "-c",
                               "read -P 7 1M 64k",
                               "-c",
                               "write -z 2M 1M",
                               "-c",
                               "read -P 0 2M 1M",
                               "-c",
                               "write -z -u 3M 64k",
                               "-c",
                               "read -P 0 3M 64k",
                               "-c",
                               "discard 5M 1M",
                               "-c",
                               "write -f -P 9 4M 4k",
                               "-c",
                               "flush",
                               "-c",
                               "aio_write -P 3 6M 1M",
                               "-c",
                               "aio_write -P 4 7M 1M",
                               "-c",
                               "aio_flush",
                               "-c",
                               "read -P 3 6M 1M",
                               "-c",
                               "read -P 4 7M 1M",
                               uri});
  EXPECT_THAT(out, ::testing::Not(HasSubstr("fail")));
  EXPECT_EQ(ReadFile(image).substr(4 << 20, 4096), std::string(4096, '\t'));
}

TEST_P(RealClients, ReadOnlyExportRefusesWrites) {
  SKIP_WITHOUT("qemu-io");
  EndExport();
  Export({"--read-only"});
  EXPECT_THAT(Run({"qemu-io", "-f", "raw", "-c", "write 0 4k", uri}, 1), HasSubstr("Permission denied"));
  Run({"qemu-io", "-r", "-f", "raw", "-c", "read 0 4k", uri});
}

TEST_P(RealClients, FioVerifiesWhatItHasWritten) {
  SKIP_WITHOUT("fio");
  if (std::system("fio --enghelp 2>&1 | grep -qw nbd") != 0) GTEST_SKIP() << "this fio has no nbd engine";
  const std::string out =
      Run({"fio", "--ioengine=nbd", "--uri=" + uri, "--rw=randrw", "--bsrange=512-64k", "--blockalign=512", "--size=4m",
           "--offset_increment=4m", "--numjobs=4", "--iodepth=8", "--verify=crc32c", "--fsync=32", "--name=verify",
           "--directory=" + dir.path(), "--verify_state_save=0", "--time_based=0"});
  EXPECT_THAT(out, ::testing::Not(HasSubstr("verify failed")));
  EXPECT_THAT(out, HasSubstr("err= 0"));
}

TEST_P(RealClients, ExportEndsAtOnceWhileTheyAreConnected) {
  SKIP_WITHOUT("qemu-io");
  ChildProcess client({"qemu-io", "-f", "raw", uri});
  client.Send("write 0 4k\n");
  ASSERT_TRUE(client.ReadUntil("wrote"));
  EndExport();
  client.Send("quit\n");
  client.Wait();
}

INSTANTIATE_TEST_SUITE_P(, RealClients, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tcp" : "Unix"; });

}  // namespace
}  // namespace jobcore_test

#endif  // JOBCTL_PATH

// SPDX-License-Identifier: Apache-2.0
//
// A process that is there to be killed: a storm on image files, until then.
//
//   jobcore_image_storm_victim DIRECTORY SEED ENGINE HOW EVENTS
//     ENGINE  threads, or ring: io_uring, if there is one
//     HOW     round: it kills itself, that many events of its journal after some rounds (so that much has happened,
//             however busy the machine is)
//             switch: that many after the first switch was asked for
//             switched: that many after a client's write was first acknowledged on the other side of one
//             wait: somebody else will

#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "block/image_storm.h"
#include "block/storm_journal.h"
#include "gtest/gtest.h"
#include "job-common/io_engine.h"

namespace {

using namespace jobcore;

// Requests are events, too, so that it may die between any two of them.
class CountedEngine final : public IoEngine {
 public:
  CountedEngine(std::unique_ptr<IoEngine> engine, block::StormJournal& journal)
      : engine_(std::move(engine)), journal_(journal) {}
  void Submit(IoRequest& request) override {
    journal_.Append({.kind = block::StormEvent::Kind::kIoBegun});
    engine_->Submit(request);
  }

 private:
  const std::unique_ptr<IoEngine> engine_;
  block::StormJournal& journal_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::testing::InitGoogleTest();
  GTEST_FLAG_SET(break_on_failure, true);  // a failed expectation is not what it is to die of
  const std::string directory = argv[1];
  const auto seed = static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10));
  const bool ring = std::string(argv[3]) == "ring";
  const std::string how = argv[4];
  const uint64_t events = std::strtoul(argv[5], nullptr, 10);

  block::StormJournal journal(directory + "/journal");
  if (how == "switch") journal.KillAfterComplete(events);
  if (how == "switched") journal.KillAfterSwitch(events);
  CountedEngine engine(ring ? IoEngine::Best(2) : IoEngine::ThreadPool(2), journal);
  block::ImageStorm storm({.directory = directory, .engine = &engine, .journal = &journal, .seed = seed});
  for (uint32_t i = 0; how == "round" && i <= seed % 5; ++i) storm.Round();
  if (how == "round") journal.KillAt(journal.size() + events);
  while (!journal.nearly_full()) storm.Round();
  std::fprintf(stderr, "nobody has killed it\n");
  std::abort();
}

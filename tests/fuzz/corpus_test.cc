// SPDX-License-Identifier: Apache-2.0
//
// What the fuzzer has found worth keeping, once more. A file of the corpus is a list of decisions, as JOBCORE_CHOICES
// takes it; run.sh turns it into what the fuzzer reads.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "job-testing/choices.h"
#include "sim/plan.h"
#include "sim/run_world.h"

namespace jobcore {
namespace {

using testing::Choices;

class FuzzCorpus : public ::testing::TestWithParam<std::string> {};

TEST_P(FuzzCorpus, BreaksNoRule) {
  std::ifstream file(std::filesystem::path(JOBCORE_FUZZ_CORPUS) / (GetParam() + ".choices"));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const auto record = testing::ParseChoices(text);
  ASSERT_TRUE(record.ok()) << record.status();
  Choices choices = Choices::Replay(*record);
  (void)sim::RunWorld(choices, {});
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(JOBCORE_FUZZ_CORPUS)) {
    if (entry.path().extension() == ".choices") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Corpus, FuzzCorpus, ::testing::ValuesIn(Names()), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace jobcore

// SPDX-License-Identifier: Apache-2.0

#include "job-testing/campaign.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "aio/check.h"
#include "job-testing/probes.h"
#include "testing/child_run.h"
#include "testing/counters.h"
#include "testing/shrink.h"

namespace jobcore::inline JOBCORE_ABI::testing {
namespace {

using SteadyClock = std::chrono::steady_clock;

std::optional<uint64_t> NumberFromEnvironment(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) internal::Die(absl::StrCat(name, "=", text, ": not a number"));
  return number;
}

// What the environment asks for instead of a campaign.
std::optional<Choices> SingleRun() {
  if (const char* const text = std::getenv("JOBCORE_CHOICES")) {
    absl::StatusOr<std::vector<uint32_t>> record = ParseChoices(text);
    if (!record.ok()) internal::Die(absl::StrCat("JOBCORE_CHOICES: ", record.status().message()));
    return Choices::Replay(*std::move(record));
  }
  if (const std::optional<uint64_t> seed = NumberFromEnvironment("JOBCORE_SEED")) return Choices(*seed);
  return std::nullopt;
}

internal::ChildEnd RunOne(Choices choices, absl::FunctionRef<void(Choices&)> scenario,
                          std::chrono::milliseconds limit) {
  return internal::RunInChild([&](uint64_t run) { return run == 0 ? &choices : nullptr; }, scenario, limit);
}

// Replaces what `failure` says by what a simpler run says that fails in the same way.
void ShrinkFailure(CampaignFailure& failure, const CampaignOptions& options,
                   absl::FunctionRef<void(Choices&)> scenario) {
  const auto start = SteadyClock::now();
  const internal::ChildEnd alone = RunOne(Choices(failure.seed), scenario, options.hang_limit);
  const auto took = SteadyClock::now() - start;
  if (!alone.failed) {
    failure.how += "; but not when its seed is run alone";
    return;
  }
  const std::string signature = alone.Signature();
  const auto limit = std::min<std::chrono::milliseconds>(
      options.hang_limit, std::chrono::duration_cast<std::chrono::milliseconds>(4 * took) + std::chrono::seconds(1));
  const auto fails = [&](const std::vector<uint32_t>& candidate) {
    internal::ChildEnd end = RunOne(Choices::Replay(candidate), scenario, limit);
    if (!end.failed || end.Signature() != signature) return false;
    failure.output = std::move(end.output);
    failure.choices = candidate;
    return true;
  };
  internal::Shrink(failure.choices, fails, [&] { return SteadyClock::now() - start > options.shrink_limit; });
}

}  // namespace

CampaignResult RunCampaign(const CampaignOptions& options, absl::FunctionRef<void(Choices&)> scenario) {
  CampaignResult result;
  const auto start = SteadyClock::now();
  if (std::optional<Choices> choices = SingleRun()) {
    scenario(*choices);
    result.seeds_run = 1;
    return result;
  }
  const std::map<std::string, uint64_t> before = ReachedCounts();  // maps the counters before the fork
  const uint64_t first = NumberFromEnvironment("JOBCORE_FIRST_SEED").value_or(options.first_seed);
  const uint64_t divisor = NumberFromEnvironment("JOBCORE_SEED_DIVISOR").value_or(1);
  const std::optional<uint64_t> time = NumberFromEnvironment("JOBCORE_SECONDS");
  const uint64_t count =
      time.has_value()
          ? std::numeric_limits<uint64_t>::max()
          : NumberFromEnvironment("JOBCORE_SEEDS").value_or(options.seeds / std::max<uint64_t>(divisor, 1));
  const auto end_of_time = start + std::chrono::seconds(time.value_or(0));
  std::optional<Choices> choices;
  const auto next = [&](uint64_t run) {
    const bool over = run >= count || (time.has_value() && SteadyClock::now() >= end_of_time);
    return over ? nullptr : &choices.emplace(first + run);
  };
  internal::ChildEnd end = internal::RunInChild(next, scenario, options.hang_limit);
  result.seeds_run = end.runs;
  if (end.failed) {
    CampaignFailure& failure = result.failure.emplace();
    failure.seed = first + std::max<uint64_t>(end.runs, 1) - 1;
    failure.how = std::move(end.how);
    failure.output = std::move(end.output);
    failure.choices = std::move(end.choices);
    failure.choices_before_shrinking = failure.choices.size();
    CampaignOptions shrinking = options;
    if (const auto limit = NumberFromEnvironment("JOBCORE_SHRINK_SECONDS")) {
      shrinking.shrink_limit = std::chrono::seconds(*limit);
    }
    if (shrinking.shrink_limit.count() > 0) ShrinkFailure(failure, shrinking, scenario);
  } else {
    std::map<std::string, uint64_t> reached = ReachedCounts();
    for (const std::string& name : options.must_reach) {
      const auto old = before.find(name);
      if (reached[name] == (old == before.end() ? 0 : old->second)) result.not_reached.push_back(name);
    }
  }
  result.seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  return result;
}

std::string CampaignResult::ToString() const {
  if (ok()) return absl::StrCat(seeds_run, " seeds in ", absl::SixDigits(seconds), " s, none failed");
  std::string text;
  if (failure.has_value()) {
    absl::StrAppend(&text, "seed ", failure->seed, " failed, number ", seeds_run, " of this campaign: ", failure->how,
                    "\n  to run it again:  JOBCORE_SEED=", failure->seed, "\n  shrunk from ",
                    failure->choices_before_shrinking, " decisions to ", failure->choices.size(),
                    ":  JOBCORE_CHOICES=", failure->choices.empty() ? "0" : FormatChoices(failure->choices), "\n",
                    failure->output);
  }
  if (!not_reached.empty()) {
    absl::StrAppend(&text, "never reached in ", seeds_run, " seeds: ", absl::StrJoin(not_reached, ", "));
  }
  return text;
}

}  // namespace jobcore::inline JOBCORE_ABI::testing

// SPDX-License-Identifier: Apache-2.0

#include "job-testing/probes.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "testing/counters.h"
#include "testing/tsan.h"

namespace jobcore::inline JOBCORE_ABI {
namespace internal {
namespace {

constinit std::atomic<testing::Faults*> faults{nullptr};

uint64_t Hash(std::string_view name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

Counters& SharedCounters() {
  static Counters* const counters = [] {
    void* const memory = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) Die("Reached: no memory for the counters");
    return new (memory) Counters;
  }();
  return *counters;
}

void Reached(const char* branch) {
  const HiddenFromTsan hidden;
  auto& slots = SharedCounters().slots;
  const std::string_view name(branch);
  if (name.size() >= slots[0].name.size()) Die(absl::StrCat("Reached: a name of ", name.size(), " characters"));
  for (size_t i = 0; i < slots.size(); ++i) {
    Counter& slot = slots[(Hash(name) + i) % slots.size()];
    uint32_t state = 0;
    if (slot.state.compare_exchange_strong(state, 1, std::memory_order_acq_rel)) {
      std::copy(name.begin(), name.end(), slot.name.begin());
      slot.state.store(2, std::memory_order_release);
    }
    while (slot.state.load(std::memory_order_acquire) != 2) {
    }
    if (name == slot.name.data()) {
      slot.count.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
  Die("Reached: too many names");
}

bool FaultPoint(const char* site) {
  testing::Faults* const installed = faults.load(std::memory_order_acquire);
  return installed != nullptr && installed->Fires(site);
}

}  // namespace internal

namespace testing {

void Reached(const char* name) { internal::Reached(name); }

std::map<std::string, uint64_t> ReachedCounts() {
  std::map<std::string, uint64_t> counts;
  for (const internal::Counter& slot : internal::SharedCounters().slots) {
    const uint64_t count = slot.count.load(std::memory_order_relaxed);
    if (count != 0) counts.emplace(slot.name.data(), count);
  }
  return counts;
}

Faults::Faults(Choices& choices) : choices_(choices) {
  if (internal::faults.exchange(this) != nullptr) internal::Die("testing::Faults: there is one already");
}

Faults::~Faults() { internal::faults.store(nullptr); }

bool Faults::Fires(const char* site) {
  const internal::HiddenFromTsan hidden;
  auto on = on_.find(std::string_view(site));
  if (on == on_.end()) on = on_.emplace(site, choices_.OneIn(4)).first;
  if (!on->second || !choices_.OneIn(4)) return false;
  internal::Reached(absl::StrCat("fault.", site).c_str());
  return true;
}

}  // namespace testing
}  // namespace jobcore::inline JOBCORE_ABI

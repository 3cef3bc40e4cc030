// SPDX-License-Identifier: Apache-2.0

#include "testing/shrink.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

using List = std::vector<uint32_t>;

class Shrinker {
 public:
  Shrinker(List list, absl::FunctionRef<bool(const List&)> fails, absl::FunctionRef<bool()> give_up)
      : list_(std::move(list)), fails_(fails), give_up_(give_up) {}

  List Run() {
    DropZeros();
    bool better = true;
    while (better && !give_up_()) {
      better = false;
      for (size_t chunk = std::max<size_t>(list_.size() / 2, 1); chunk > 0; chunk /= 2) {
        better |= DeleteChunks(chunk);
        better |= ClearChunks(chunk);
      }
      better |= LowerNumbers();
    }
    return list_;
  }

 private:
  bool Try(List candidate) {
    if (give_up_() || !fails_(candidate)) return false;
    list_ = std::move(candidate);
    DropZeros();
    return true;
  }

  void DropZeros() {
    while (!list_.empty() && list_.back() == 0) list_.pop_back();
  }

  // From the end, so that what comes before keeps its meaning.
  bool DeleteChunks(size_t chunk) {
    bool better = false;
    for (size_t end = list_.size(); end > 0 && !give_up_();) {
      const size_t begin = end > chunk ? end - chunk : 0;
      List candidate = list_;
      candidate.erase(candidate.begin() + static_cast<ptrdiff_t>(begin),
                      candidate.begin() + static_cast<ptrdiff_t>(end));
      better |= Try(std::move(candidate));
      end = std::min(begin, list_.size());
    }
    return better;
  }

  bool ClearChunks(size_t chunk) {
    bool better = false;
    for (size_t begin = 0; begin < list_.size() && !give_up_(); begin += chunk) {
      List candidate = list_;
      const auto from = candidate.begin() + static_cast<ptrdiff_t>(begin);
      const auto to = candidate.begin() + static_cast<ptrdiff_t>(std::min(begin + chunk, candidate.size()));
      if (std::all_of(from, to, [](uint32_t v) { return v == 0; })) continue;
      std::fill(from, to, 0);
      better |= Try(std::move(candidate));
    }
    return better;
  }

  bool LowerNumbers() {
    bool better = false;
    for (size_t i = 0; i < list_.size() && !give_up_(); ++i) {
      for (const uint32_t lower : {list_[i] / 2, list_[i] - 1}) {
        if (i >= list_.size() || lower >= list_[i]) continue;
        List candidate = list_;
        candidate[i] = lower;
        better |= Try(std::move(candidate));
      }
    }
    return better;
  }

  List list_;
  const absl::FunctionRef<bool(const List&)> fails_;
  const absl::FunctionRef<bool()> give_up_;
};

}  // namespace

List Shrink(List list, absl::FunctionRef<bool(const List&)> fails, absl::FunctionRef<bool()> give_up) {
  return Shrinker(std::move(list), fails, give_up).Run();
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

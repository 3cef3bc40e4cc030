// SPDX-License-Identifier: Apache-2.0
//
// WriteCache: what each sector of an image may hold after a power failure. Until a sync that began after a write was
// done is done itself, that write may have reached the medium, or not, or in part, whatever became of those before and
// after it; a sector is written as a whole.
//
// So at any moment a sector holds one of a list: what was synced last, or anything that was written to it since. Any
// combination of the lists of different sectors is possible. Who checks every entry has checked all that any loss of
// unsynced writes can do.

#ifndef JOBCORE_TESTS_BLOCK_WRITE_CACHE_H_
#define JOBCORE_TESTS_BLOCK_WRITE_CACHE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "block/cached_engine.h"
#include "block/stamp.h"

namespace jobcore::block {

class WriteCache {
 public:
  // Of images full of zeros, of so many sectors.
  WriteCache(uint64_t sectors, std::span<const CachedRequest> requests) : sectors_(sectors), requests_(requests) {}

  // Events of the engine, in order. Requests to one sector do not overlap in time.
  void Begin(uint32_t index) {
    ++now_;
    const CachedRequest& request = requests_[index];
    if (request.sync) {
      began_[index] = now_;
      return;
    }
    std::vector<Sector>& image = Image(request.image);
    for (size_t i = 0; i < request.stamps.size(); ++i) {
      image[request.first_sector + i].push_back({.stamp = request.stamps[i], .request = index});
    }
  }
  void End(uint32_t index) {
    ++now_;
    const CachedRequest& request = requests_[index];
    if (!request.sync) {
      for (size_t i = 0; i < request.stamps.size(); ++i) {
        for (Version& version : Image(request.image)[request.first_sector + i]) {
          if (version.request == index) version.done = now_;
        }
      }
      return;
    }
    const uint64_t began = began_[index];
    for (Sector& sector : Image(request.image)) {
      const auto newest = std::find_if(sector.rbegin(), sector.rend(),
                                       [began](const Version& version) { return version.done < began; });
      if (newest != sector.rend()) sector.erase(sector.begin(), newest.base() - 1);
    }
  }

  // All that a sector may hold, the oldest first.
  struct Version {
    Stamp stamp = kZeros;
    uint32_t request = UINT32_MAX;  // none: it was there before
    uint64_t done = UINT64_MAX;     // not yet
  };
  using Sector = std::vector<Version>;
  std::vector<Sector>& Image(uint16_t image) {
    std::vector<Sector>& sectors = images_[image];
    if (sectors.empty()) sectors.assign(sectors_, {{.done = 0}});
    return sectors;
  }

 private:
  const uint64_t sectors_;
  const std::span<const CachedRequest> requests_;
  std::map<uint16_t, std::vector<Sector>> images_;
  std::map<uint32_t, uint64_t> began_;  // of syncs
  uint64_t now_ = 0;
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_WRITE_CACHE_H_

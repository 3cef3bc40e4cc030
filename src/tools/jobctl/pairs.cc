// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/pairs.h"

#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"

namespace jobctl {
namespace {

namespace fs = std::filesystem;
using jobcore::internal::Quoted;

// One spelling per directory entry, whether it exists or not. Links at the end are not followed: a target
// replaces them, unless they lead to a device. That can be opened by one only.
std::string Canonical(const std::string& path) {
  std::error_code error;
  const fs::path parent = fs::weakly_canonical(fs::absolute(path, error).parent_path(), error);
  return (parent / fs::path(path).filename()).string();
}

std::string JobId(const std::string& target) {
  constexpr size_t kLongest = 40;
  std::string id = fs::path(target).stem().string().substr(0, kLongest);
  for (char& c : id) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  }
  if (id.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(id[0]))) id.insert(0, "job-");
  return id;
}

}  // namespace

absl::StatusOr<std::vector<Pair>> MakePairs(const std::vector<std::string>& paths) {
  if (paths.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("source ", Quoted(paths.back()), " has no target"));
  }
  std::vector<Pair> pairs;
  std::set<std::string> ids;
  std::map<std::string, size_t> sources;
  for (size_t i = 0; i < paths.size(); i += 2) {
    Pair pair{JobId(paths[i + 1]), paths[i], paths[i + 1]};
    const std::string base = pair.id;
    for (int n = 2; !ids.insert(pair.id).second; ++n) pair.id = absl::StrCat(base, "-", n);
    sources.emplace(Canonical(pair.source), pairs.size());
    pairs.push_back(std::move(pair));
  }

  std::set<std::string> targets;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::string target = Canonical(pairs[i].target);
    if (!targets.insert(target).second) {
      return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(pairs[i].target), " is given twice"));
    }
    for (size_t j = 0; j < pairs.size(); ++j) {
      std::error_code ignored;  // those that do not exist are not the same
      const auto named = sources.find(target);
      const bool same =
          (named != sources.end() && named->second == j) || fs::equivalent(pairs[i].target, pairs[j].source, ignored);
      if (same && i != j) {
        return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(pairs[i].target),
                                                       " is the source of another pair, ", Quoted(pairs[j].source)));
      }
    }
  }
  return pairs;
}

}  // namespace jobctl

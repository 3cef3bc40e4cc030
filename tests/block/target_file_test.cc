// SPDX-License-Identifier: Apache-2.0
//
// TargetFile: what it replaces, what it removes, and what it leaves alone because that is somebody else's.

#include "block/target_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "block/image_lock.h"
#include "block/test_files.h"
#include "block/unique_fd.h"
#include "gmock/gmock.h"

namespace jobcore::internal {
namespace {

using jobcore_test::Exists;
using jobcore_test::ReadFile;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TargetFileTest : public ::testing::Test {
 protected:
  TargetFile Open(bool replace) {
    absl::StatusOr<TargetFile> file = TargetFile::Open(path_, replace, 0, nullptr);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  const TempDir dir_;
  const std::string path_ = dir_.Path("target");
};

TEST_F(TargetFileTest, GoesAwayUnlessItGetsItsName) {
  {
    TargetFile file = Open(/*replace=*/false);
    ASSERT_TRUE(file.Create().ok());
    EXPECT_TRUE(Exists(file.temporary_path()));
    EXPECT_FALSE(Exists(path_));
  }
  EXPECT_THAT(dir_.Names(), IsEmpty());
}

TEST_F(TargetFileTest, DoesNotRemoveWhatSomebodyElseHasPutInItsPlace) {
  TargetFile file = Open(/*replace=*/false);
  ASSERT_TRUE(file.Create().ok());
  const std::string hidden = file.temporary_path();
  WriteFile(dir_.Path("other"), "precious");  // not a number of a file that has just become free
  ASSERT_EQ(rename(dir_.Path("other").c_str(), hidden.c_str()), 0);
  EXPECT_EQ(file.CheckPublishable().code(), absl::StatusCode::kFailedPrecondition);
  file.Discard();
  EXPECT_EQ(ReadFile(hidden), "precious");
}

TEST_F(TargetFileTest, WhatItReplacesIsKeptUntilThatIsConfirmed) {
  for (const char* old : {"", "old"}) {
    const bool exists = *old != 0;
    for (const bool confirmed : {false, true}) {
      if (exists) WriteFile(path_, old);
      {
        TargetFile file = Open(/*replace=*/exists);
        ASSERT_TRUE(file.Create().ok());
        ASSERT_EQ(write(file.fd(), "new", 3), 3);
        ASSERT_TRUE(file.PublishRevocably().ok());
        EXPECT_EQ(ReadFile(path_), "new");
        EXPECT_EQ(dir_.Names().size(), exists ? 2u : 1u);
        file.Revoke();
        EXPECT_EQ(Exists(path_), exists);
        if (exists) {
          EXPECT_EQ(ReadFile(path_), old);
        }
        EXPECT_EQ(ReadFile(file.temporary_path()), "new");
        ASSERT_TRUE(file.PublishRevocably().ok());
        if (confirmed) file.Confirm();
      }
      if (confirmed) {
        EXPECT_EQ(ReadFile(path_), "new");
      } else {
        EXPECT_EQ(Exists(path_), exists);
        if (exists) {
          EXPECT_EQ(ReadFile(path_), old);
        }
      }
      EXPECT_EQ(dir_.Names().size(), confirmed || exists ? 1u : 0u);
      unlink(path_.c_str());
    }
  }
}

TEST_F(TargetFileTest, ANameThatSomebodyElseHasTakenMeanwhileIsHis) {
  TargetFile file = Open(/*replace=*/false);
  ASSERT_TRUE(file.Create().ok());
  WriteFile(path_, "precious");
  EXPECT_EQ(file.PublishRevocably().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(path_), "precious");
  ASSERT_EQ(unlink(path_.c_str()), 0);
  ASSERT_TRUE(file.PublishRevocably().ok());
  WriteFile(dir_.Path("other"), "precious");
  ASSERT_EQ(rename(dir_.Path("other").c_str(), path_.c_str()), 0);
  file.Revoke();
  EXPECT_EQ(ReadFile(path_), "precious");
}

TEST_F(TargetFileTest, WhatIsToBeReplacedIsLockedUntilTheEnd) {
  WriteFile(path_, "old");
  const UniqueFd user(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  {
    TargetFile file = Open(/*replace=*/true);
    ASSERT_TRUE(file.LockReplaced().ok());
    EXPECT_FALSE(LockImage(user.get(), path_, /*writes=*/false, /*required=*/true).ok());
  }
  const UniqueFd later(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(LockImage(later.get(), path_, /*writes=*/false, /*required=*/true).ok());
  TargetFile file = Open(/*replace=*/true);
  EXPECT_EQ(file.LockReplaced().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TargetFileTest, ALinkIsReplacedWhoeverUsesWhatItLeadsTo) {
  const std::string behind = dir_.Path("behind");
  WriteFile(behind, "used");
  ASSERT_EQ(symlink("behind", path_.c_str()), 0);
  const UniqueFd user(open(behind.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(LockImage(user.get(), behind, /*writes=*/true, /*required=*/true).ok());
  TargetFile file = Open(/*replace=*/true);
  ASSERT_TRUE(file.LockReplaced().ok());
  ASSERT_TRUE(file.Create().ok());
  ASSERT_TRUE(file.Publish().ok());
  EXPECT_EQ(ReadFile(path_), "");
  EXPECT_EQ(ReadFile(behind), "used");
  EXPECT_THAT(dir_.Names(), ElementsAre("behind", "target"));
}

}  // namespace
}  // namespace jobcore::internal

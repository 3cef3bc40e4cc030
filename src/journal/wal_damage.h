// SPDX-License-Identifier: Apache-2.0
//
// What SQLite does not say: that it has left out commits. It takes the frames of a write-ahead log up to the first one
// whose checksum is wrong, since that is what a crash leaves; where a frame in the middle has been damaged, those
// behind it go the same way without a word, and its integrity check is content.

#ifndef JOBCORE_SRC_JOURNAL_WAL_DAMAGE_H_
#define JOBCORE_SRC_JOURNAL_WAL_DAMAGE_H_

#include <string>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::journal::internal {

// True: commits follow a damaged frame in the log `path`, or its header is damaged. Before SQLite opens it. May say so,
// too, of the one commit during which the power failed: nothing is lost then, and nothing is assumed to be there.
bool WalHasLostCommits(const std::string& path);

}  // namespace jobcore::inline JOBCORE_ABI::journal::internal

#endif  // JOBCORE_SRC_JOURNAL_WAL_DAMAGE_H_

// SPDX-License-Identifier: Apache-2.0
//
// Clients: rehearse what programs do to an image while it is mirrored. They write numbered blocks, remember
// what was acknowledged to them, follow the switch-over, and then have all of it looked for.

#ifndef JOBCORE_TOOLS_JOBCTL_CLIENTS_H_
#define JOBCORE_TOOLS_JOBCTL_CLIENTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"
#include "tools/jobctl/ledger.h"

namespace jobctl {

// What has become of the writes of the clients of one image.
struct ClientReport {
  std::string job;         // that mirrored it
  std::string image;       // where the clients are at the end
  uint64_t on_source = 0;  // acknowledged writes before the switch
  uint64_t on_target = 0;  // … and after it
  uint64_t blocks = 0;     // different ones that were written
  uint64_t lost = 0;       // of these, not as they were acknowledged last
  std::string wrong = {};  // the first of these, or what else is wrong; empty: nothing
  bool ok() const { return wrong.empty(); }
};

// For people.
std::string ToString(const ClientReport& report);

// On the main thread. The nodes live in an I/O thread, where the clients run, too.
class Clients {
 public:
  struct Side {
    std::shared_ptr<jobcore::block::Node> node;
    std::string filename;
  };

  // Whose node the clients of `source` write to, whatever that is later. InvalidArgument: the image is too small for so
  // many.
  static absl::StatusOr<std::unique_ptr<Clients>> Create(jobcore::JobCore& core, Side source, Side target, int count);
  ~Clients();

  void Start();
  // Lets each write a few more times, and then stop. Waits until they have; without Start, or twice, does nothing.
  void Stop() JOBCORE_EXCLUDES(jobcore::job_mutex);
  // Any thread: they are users of the target by now.
  bool switched() const;
  // Reads both images. After Stop.
  ClientReport Verify(const std::string& job) JOBCORE_EXCLUDES(jobcore::job_mutex);
  // What is to be in the image where they are now. After Stop.
  Ledger Acknowledged() const;

 private:
  class Client;
  Clients(jobcore::JobCore& core, Side source, Side target);
  // Counts what is not as the ledger says; the first goes to the report. `text`: what it is then.
  jobcore::Co<void> Compare(std::shared_ptr<jobcore::block::Node> node, Ledger ledger, std::string text,
                            ClientReport& report, uint64_t& count, bool& done) JOBCORE_EXCLUDES(jobcore::job_mutex);

  jobcore::JobCore& core_;
  const Side source_;
  const Side target_;
  std::vector<std::unique_ptr<Client>> clients_;
  size_t running_ = 0;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_CLIENTS_H_

// SPDX-License-Identifier: Apache-2.0
//
// A job whose work is a plain function: the checksum of a file, with read(2). Usage: blocking_job [FILE]
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "job-driver/blocking_driver.h"
#include "job-monitor/job_wait.h"
using namespace jobcore;

class Checksum final : public BlockingDriver {
 public:
  Checksum(BlockingPool& pool, int fd, uint64_t& sum) : BlockingDriver(pool), fd_(fd), sum_(sum) {}

  absl::Status RunBlocking(BlockingJob& job) override {  // on a thread of the pool
    struct stat file{};
    if (fstat(fd_, &file) != 0) return absl::ErrnoToStatus(errno, "fstat");
    job.progress().SetRemaining(static_cast<uint64_t>(file.st_size));
    std::array<unsigned char, 65536> block;
    for (;;) {
      if (absl::Status s = job.CheckPoint(); !s.ok()) return s;  // held here while the job is paused
      const ssize_t n = read(fd_, block.data(), block.size());
      if (n < 0) return absl::ErrnoToStatus(errno, "read");
      if (n == 0) return absl::OkStatus();
      for (ssize_t i = 0; i < n; ++i) sum_ = (sum_ ^ block[i]) * 0x100000001b3;  // FNV-1a
      job.progress().Advance(static_cast<uint64_t>(n));
    }
  }

 private:
  const int fd_;
  uint64_t& sum_;
};

int main(int argc, char** argv) {
  const char* const path = argc > 1 ? argv[1] : argv[0];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::perror(path), 1;
  uint64_t sum = 0xcbf29ce484222325;
  BlockingPool pool(2);  // outlives the core, which waits for its jobs
  JobCore core;
  JobRef job = *CreateJob(core, {.id = "sum"}, std::make_unique<Checksum>(pool, fd, sum));
  if (!StartJob(*job).ok()) return 1;
  std::puts(monitor::WaitFor(job)->ToString().c_str());
  const ProgressSnapshot done = job->progress().Get();
  std::printf("%lu of %lu bytes, FNV-1a %016lx\n", done.current, done.total, sum);
  close(fd);
}

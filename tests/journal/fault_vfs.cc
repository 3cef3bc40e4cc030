// SPDX-License-Identifier: Apache-2.0

#include "journal/fault_vfs.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <utility>
#include <vector>

namespace jobcore_test {
namespace {

FaultPlan plan;
FaultCounts counts;

struct Undo {
  std::string path;
  sqlite3_int64 offset;
  std::string before;
  sqlite3_int64 size_before;
};
std::vector<Undo> unflushed;

struct File {
  sqlite3_file base;
  sqlite3_file* real;
  char path[512];
};
sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real; }

[[noreturn]] void Die() {
  if (plan.what == FaultPlan::What::kPowerCut) {
    for (size_t i = unflushed.size(); i-- > 0;) {
      const Undo& undo = unflushed[i];
      const int fd = open(undo.path.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd < 0) continue;
      if (pwrite(fd, undo.before.data(), undo.before.size(), undo.offset) < 0 || ftruncate(fd, undo.size_before) != 0) {
        _exit(1);
      }
      close(fd);
    }
  }
  _exit(kDied);
}

// SQLITE_OK, or what the operation is to fail with.
int Operation(bool flush) {
  counts.operations += 1;
  if (flush) counts.flushes += 1;
  const long now = plan.only_flushes ? counts.flushes : counts.operations;
  if (plan.only_flushes && !flush) return SQLITE_OK;
  switch (plan.what) {
    case FaultPlan::What::kDie:
    case FaultPlan::What::kPowerCut:
      if (now == plan.at) Die();
      break;
    case FaultPlan::What::kIoError:
      if (now == plan.at) return flush ? SQLITE_IOERR_FSYNC : SQLITE_IOERR_WRITE;
      break;
    case FaultPlan::What::kNoSpace:
      if (!flush && now >= plan.at && plan.full()) return SQLITE_FULL;
      break;
    default:
      break;
  }
  return SQLITE_OK;
}

int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  if (const int error = Operation(false); error != SQLITE_OK) return error;
  auto* const self = reinterpret_cast<File*>(file);
  if (plan.what == FaultPlan::What::kPowerCut) {
    Undo undo{.path = self->path, .offset = offset, .before = {}, .size_before = 0};
    self->real->pMethods->xFileSize(self->real, &undo.size_before);
    undo.before.resize(static_cast<size_t>(size));
    self->real->pMethods->xRead(self->real, undo.before.data(), size, offset);
    unflushed.push_back(std::move(undo));
  }
  if (plan.what == FaultPlan::What::kTear && counts.operations == plan.at) {
    self->real->pMethods->xWrite(self->real, data, size / 2, offset);
    Die();
  }
  return self->real->pMethods->xWrite(self->real, data, size, offset);
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (const int error = Operation(false); error != SQLITE_OK) return error;
  return Real(file)->pMethods->xTruncate(Real(file), size);
}
int Sync(sqlite3_file* file, int flags) {
  if (const int error = Operation(true); error != SQLITE_OK) return error;
  if (plan.flushes_lie) return SQLITE_OK;
  std::erase_if(unflushed, [&](const Undo& undo) { return undo.path == reinterpret_cast<File*>(file)->path; });
  return Real(file)->pMethods->xSync(Real(file), flags);
}
int Close(sqlite3_file* file) {
  const int result = Real(file)->pMethods->xClose(Real(file));
  sqlite3_free(Real(file));
  return result;
}
int Read(sqlite3_file* f, void* d, int n, sqlite3_int64 o) { return Real(f)->pMethods->xRead(Real(f), d, n, o); }
int FileSize(sqlite3_file* f, sqlite3_int64* n) { return Real(f)->pMethods->xFileSize(Real(f), n); }
int Lock(sqlite3_file* f, int l) { return Real(f)->pMethods->xLock(Real(f), l); }
int Unlock(sqlite3_file* f, int l) { return Real(f)->pMethods->xUnlock(Real(f), l); }
int CheckReserved(sqlite3_file* f, int* r) { return Real(f)->pMethods->xCheckReservedLock(Real(f), r); }
int Control(sqlite3_file* f, int op, void* a) { return Real(f)->pMethods->xFileControl(Real(f), op, a); }
int SectorSize(sqlite3_file* f) { return Real(f)->pMethods->xSectorSize(Real(f)); }
int Characteristics(sqlite3_file* f) { return Real(f)->pMethods->xDeviceCharacteristics(Real(f)); }

// Version 1 has no shared memory: what needs it does not work here.
constexpr sqlite3_io_methods kMethods = {
    1,          Close,           Read,    Write,   Truncate, Sync,    FileSize, Lock,   Unlock, CheckReserved, Control,
    SectorSize, Characteristics, nullptr, nullptr, nullptr,  nullptr, nullptr,  nullptr};

sqlite3_vfs* Parent(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
  auto* const self = reinterpret_cast<File*>(file);
  std::memset(self, 0, sizeof(File));
  self->real = static_cast<sqlite3_file*>(sqlite3_malloc(Parent(vfs)->szOsFile));
  std::memset(self->real, 0, static_cast<size_t>(Parent(vfs)->szOsFile));
  if (name != nullptr) std::strncpy(self->path, name, sizeof(self->path) - 1);
  const int result = Parent(vfs)->xOpen(Parent(vfs), name, self->real, flags, out);
  if (result != SQLITE_OK) {
    sqlite3_free(self->real);
    return result;
  }
  self->base.pMethods = &kMethods;
  return SQLITE_OK;
}
int Delete(sqlite3_vfs* vfs, const char* name, int sync) {
  if (const int error = Operation(false); error != SQLITE_OK) return error;
  return Parent(vfs)->xDelete(Parent(vfs), name, sync);
}
int Access(sqlite3_vfs* v, const char* n, int f, int* r) { return Parent(v)->xAccess(Parent(v), n, f, r); }
int FullPath(sqlite3_vfs* v, const char* n, int s, char* o) { return Parent(v)->xFullPathname(Parent(v), n, s, o); }
int Randomness(sqlite3_vfs* v, int n, char* o) { return Parent(v)->xRandomness(Parent(v), n, o); }
int Sleep(sqlite3_vfs* v, int us) { return Parent(v)->xSleep(Parent(v), us); }
int CurrentTime(sqlite3_vfs* v, double* t) { return Parent(v)->xCurrentTime(Parent(v), t); }
int LastError(sqlite3_vfs* v, int n, char* o) { return Parent(v)->xGetLastError(Parent(v), n, o); }

}  // namespace

const char* UseFaultVfs() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs* const parent = sqlite3_vfs_find(nullptr);
    sqlite3_vfs made{};
    made.iVersion = 1;
    made.szOsFile = sizeof(File);
    made.mxPathname = parent->mxPathname;
    made.zName = "fault";
    made.pAppData = parent;
    made.xOpen = Open;
    made.xDelete = Delete;
    made.xAccess = Access;
    made.xFullPathname = FullPath;
    made.xRandomness = Randomness;
    made.xSleep = Sleep;
    made.xCurrentTime = CurrentTime;
    made.xGetLastError = LastError;
    return made;
  }();
  static const int registered = sqlite3_vfs_register(&vfs, 0);
  return registered == SQLITE_OK ? "fault" : nullptr;
}

void SetFaults(FaultPlan next) {
  plan = std::move(next);
  counts = {};
  unflushed.clear();
}
FaultCounts Faults() { return counts; }
void FaultStep(const char*) { Operation(false); }

}  // namespace jobcore_test

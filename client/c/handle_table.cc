#include "client/c/handle_table.h"

#include <pthread.h>

namespace terrace::c {
namespace {

const char* NounOf(std::uint64_t kind) noexcept {
  switch (kind) {
    case static_cast<std::uint64_t>(HandleKind::kClient): return "client";
    case static_cast<std::uint64_t>(HandleKind::kChain): return "chain";
    case static_cast<std::uint64_t>(HandleKind::kResult): return "result";
    case static_cast<std::uint64_t>(HandleKind::kPaged): return "paged cache";
    default: return nullptr;
  }
}

}  // namespace

std::mutex& HandleLock() {
  // Never destroyed: calls may come while the process ends.
  static std::mutex& lock = *[] {
    auto* made = new std::mutex;  // NOLINT(cppcoreguidelines-owning-memory)
    // A child that is forked while another thread holds the lock would wait for it for ever.
    ::pthread_atfork([] { HandleLock().lock(); }, [] { HandleLock().unlock(); },
                     [] { HandleLock().unlock(); });
    return made;
  }();
  return lock;
}

Status WrongHandle(const char* argument, std::uint64_t handle, HandleKind kind, bool given_out) {
  const std::string name = argument;
  if (handle == 0) return Status::Invalid(name + " is 0, no handle");
  const std::uint64_t its_kind = handle >> 60;
  const char* noun = NounOf(its_kind);
  if (noun != nullptr && its_kind != static_cast<std::uint64_t>(kind)) {
    return Status::Invalid(name + " is the handle of a " + noun);
  }
  if (given_out) {
    const bool closes = kind == HandleKind::kClient || kind == HandleKind::kPaged;
    return Status::Invalid(name + (closes ? " was closed" : " was freed"));
  }
  return Status::Invalid(name + " is " + std::to_string(handle) + ", which no call gave out");
}

}  // namespace terrace::c

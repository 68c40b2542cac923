// HandleTable: the objects behind the numbers that the C interface gives out.
//
// Model. A handle is kind, generation and place. A place gets a new generation when its object is
// taken out, so that an old number never means a new object. Whoever found an object shares it:
// it lives until the last call that uses it has ended, whoever takes it out meanwhile.
//
// Thread: any. One lock for all tables, held for a few instructions, never while an object is made,
// used or destroyed; it is free in a child that was forked.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace terrace::c {

enum class HandleKind : std::uint8_t { kClient = 1, kChain = 2, kResult = 3, kPaged = 4 };

/// The lock of all tables; the first call makes it safe for fork().
std::mutex& HandleLock();

/// Most objects of one kind at a time: far above what a client's limits let live.
inline constexpr std::uint64_t kHandlesMax = 1 << 20;

constexpr std::uint64_t MakeHandle(HandleKind kind, std::uint64_t generation,
                                   std::uint64_t place) noexcept {
  return static_cast<std::uint64_t>(kind) << 60 | (generation & 0xfffffffffU) << 24 | place;
}

/// Why `handle`, which the caller passed as `argument`, is not one of `kind` that lives.
Status WrongHandle(const char* argument, std::uint64_t handle, HandleKind kind, bool given_out);

template <typename T>
class HandleTable {
 public:
  explicit HandleTable(HandleKind kind) noexcept : kind_(kind) {}

  /// kRetry when kHandlesMax objects live.
  Result<std::uint64_t> Add(std::shared_ptr<T> object) {
    const std::lock_guard lock(HandleLock());
    if (free_.empty()) {
      if (slots_.size() >= kHandlesMax) {
        return Status(StatusCode::kRetry, std::to_string(kHandlesMax) + " handles are in use");
      }
      // So that Remove needs no memory.
      if (free_.capacity() <= slots_.size()) free_.reserve(2 * slots_.size() + 16);
      slots_.emplace_back();
      free_.push_back(slots_.size() - 1);
    }
    const std::uint64_t place = free_.back();
    free_.pop_back();
    slots_[place].object = std::move(object);
    slots_[place].lives = true;
    return MakeHandle(kind_, slots_[place].generation, place);
  }

  /// How many Add would take now.
  std::uint64_t Room() {
    const std::lock_guard lock(HandleLock());
    return kHandlesMax - slots_.size() + free_.size();
  }

  /// kInvalid names `argument`.
  Result<std::shared_ptr<T>> Find(std::uint64_t handle, const char* argument) {
    const std::lock_guard lock(HandleLock());
    Result<Slot*> slot = SlotOf(handle, argument);
    if (!slot.ok()) return slot.status();
    return (*slot)->object;
  }

  /// Voids the handle. The object is the caller's, and of those that use it now.
  Result<std::shared_ptr<T>> Remove(std::uint64_t handle, const char* argument) {
    const std::lock_guard lock(HandleLock());
    Result<Slot*> slot = SlotOf(handle, argument);
    if (!slot.ok()) return slot.status();
    std::shared_ptr<T> object = std::move((*slot)->object);
    Free(**slot);
    return object;
  }

  /// Takes the object out to change it; until PutBack nobody finds it. kInvalid when it is out.
  Result<std::shared_ptr<T>> Take(std::uint64_t handle, const char* argument) {
    const std::lock_guard lock(HandleLock());
    Result<Slot*> slot = SlotOf(handle, argument);
    if (!slot.ok()) return slot.status();
    return std::move((*slot)->object);
  }
  void PutBack(std::uint64_t handle, std::shared_ptr<T> object) {
    const std::lock_guard lock(HandleLock());
    slots_[PlaceOf(handle)].object = std::move(object);
  }

 private:
  struct Slot {
    std::shared_ptr<T> object;  // null while it is taken out
    std::uint64_t generation = 1;
    bool lives = false;
  };

  static std::uint64_t PlaceOf(std::uint64_t handle) noexcept { return handle & 0xffffff; }

  Result<Slot*> SlotOf(std::uint64_t handle, const char* argument) {
    const std::uint64_t place = PlaceOf(handle);
    if (handle >> 60 != static_cast<std::uint64_t>(kind_) || place >= slots_.size()) {
      return WrongHandle(argument, handle, kind_, false);
    }
    Slot& slot = slots_[place];
    if (!slot.lives || handle != MakeHandle(kind_, slot.generation, place)) {
      return WrongHandle(argument, handle, kind_, (handle >> 24 & 0xfffffffffU) < slot.generation);
    }
    if (slot.object == nullptr) {
      return Status::Invalid(std::string(argument) + " is being changed by another thread");
    }
    return &slot;
  }

  void Free(Slot& slot) {
    slot.lives = false;
    ++slot.generation;
    free_.push_back(static_cast<std::uint64_t>(&slot - slots_.data()));
  }

  const HandleKind kind_;
  std::vector<Slot> slots_;          // guarded by HandleLock
  std::vector<std::uint64_t> free_;  // places; likewise
};

}  // namespace terrace::c

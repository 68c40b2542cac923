// SharedRegion: memory that a client registered and gave the daemon to map, so that blocks are
// copied by the processor's copy instead of by a system call that looks up every page.
//
// The client owns it and may write it at any time: what is copied out is checked where it came to.
// It cannot be made shorter (sealed), but a client can still take pages out of it, and then the
// system may have none to give when they are touched: SIGBUS. A copy survives that
// (guarded_copy.h): it fails, and so does every later one.
//
// A client can share more than there is: memory that was never touched costs it nothing. Addresses
// and mappings of the daemon are what it would use up, so both are counted (SharedMemoryUse).
//
// Thread: any, one at a time for a region.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/result.h"
#include "transport/shm/sealed_memory.h"

namespace terrace {

/// What is mapped for a client, and within that of all clients together. Any thread.
class SharedMemoryUse {
 public:
  struct Limit {
    std::uint64_t bytes = 0;
    std::uint64_t regions = 0;
  };
  SharedMemoryUse(Limit limit, std::shared_ptr<SharedMemoryUse> all)
      : limit_(limit), all_(std::move(all)) {}
  SharedMemoryUse(const SharedMemoryUse&) = delete;
  SharedMemoryUse& operator=(const SharedMemoryUse&) = delete;

  /// For a new client: a part of what the process has addresses and mappings for.
  static std::shared_ptr<SharedMemoryUse> OfOneClient();
  /// False, and nothing taken, when it would be too much.
  [[nodiscard]] bool Take(std::uint64_t bytes) noexcept;
  void GiveBack(std::uint64_t bytes) noexcept;

 private:
  const Limit limit_;
  const std::shared_ptr<SharedMemoryUse> all_;  // null: this is all
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> regions_{0};
};

class SharedRegion {
 public:
  /// As MapSealed; also kInvalid for huge pages of their own (hugetlbfs). kRetry beyond what `use`
  /// allows. Never waits for `fd`, whatever it is.
  static Result<std::shared_ptr<SharedRegion>> Map(int fd, std::uint64_t bytes,
                                                   const std::shared_ptr<SharedMemoryUse>& use);
  /// Gives the memory back elsewhere (elsewhere.h), soon.
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Copies from `offset` of the region. False: memory of it has gone; the content is undefined.
  /// REQUIRES: offset + destination.size() <= size().
  /// `checksum`: if not null, Checksum64 of what then stands in `destination`.
  bool Read(std::uint64_t offset, std::span<std::byte> destination,
            std::uint64_t* checksum = nullptr);
  /// Copies to `offset` of the region; as Read.
  bool Write(std::uint64_t offset, std::span<const std::byte> source);

 private:
  SharedRegion(SealedMapping mapping, std::uint64_t size, std::shared_ptr<SharedMemoryUse> use)
      : mapping_(mapping), size_(size), use_(std::move(use)) {}
  bool Copy(std::byte* to, const std::byte* from, std::size_t bytes,
            std::uint64_t* checksum = nullptr);

  const SealedMapping mapping_;
  const std::uint64_t size_;
  const std::shared_ptr<SharedMemoryUse> use_;
  bool gone_ = false;
};

}  // namespace terrace

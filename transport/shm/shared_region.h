// SharedRegion: memory that a client registered and gave the daemon to map, so that blocks are
// copied by the processor's copy instead of by a system call that looks up every page.
//
// The client owns it and may write it at any time: what is copied out is checked where it came to.
// It cannot be made shorter (sealed), but a client can still take pages out of it, and then the
// system may have none to give when they are touched: SIGBUS. A copy survives that
// (guarded_copy.h): it fails, and so does every later one.
//
// Thread: any, one at a time for a region.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "transport/shm/sealed_memory.h"

namespace terrace {

class SharedRegion {
 public:
  /// As MapSealed; also kInvalid for huge pages of their own (hugetlbfs).
  static Result<std::shared_ptr<SharedRegion>> Map(int fd, std::uint64_t bytes);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Copies from `offset` of the region. False: memory of it has gone; the content is undefined.
  /// REQUIRES: offset + destination.size() <= size().
  bool Read(std::uint64_t offset, std::span<std::byte> destination);
  /// Copies to `offset` of the region; as Read.
  bool Write(std::uint64_t offset, std::span<const std::byte> source);

 private:
  SharedRegion(SealedMapping mapping, std::uint64_t size) : mapping_(mapping), size_(size) {}
  bool Copy(std::byte* to, const std::byte* from, std::size_t bytes);

  const SealedMapping mapping_;
  const std::uint64_t size_;
  bool gone_ = false;
};

}  // namespace terrace

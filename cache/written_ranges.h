// WrittenRanges: which bytes of a block its writers have brought.
//
// Model. A fragment is taken before its bytes come, and from then on no other may touch them; it is
// written when they are all there, or free again when nothing brings them any more. So each byte is
// written once or not at all.
//
// Thread: its owner's. Memory: one tree node a fragment, at most kFragmentsMax, and 8 bytes for
// each 256 KiB of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "base/status.h"

namespace terrace {

class WrittenRanges {
 public:
  static constexpr std::size_t kFragmentsMax = 65'536;  ///< of one block, taken or written

  /// Of a block of `bytes` bytes, nothing taken.
  explicit WrittenRanges(std::uint64_t bytes) noexcept : bytes_(bytes) {}

  struct Fragment {
    std::uint64_t length = 0;
    bool written = false;
    std::vector<std::uint64_t> sums{};  ///< of a written one: what its owner passed to Finish
  };

  /// kInvalid when it has no bytes, lies outside the block, or has a byte that is taken or written;
  /// kRetry when there are too many fragments.
  StatusCode Take(std::uint64_t offset, std::uint64_t length);
  /// REQUIRES: a fragment of this offset is taken; likewise Free.
  void Finish(std::uint64_t offset, std::vector<std::uint64_t> sums);
  void Free(std::uint64_t offset);

  /// The written fragment that bytes [begin, end) lie in; null without one. REQUIRES: begin < end.
  struct Found {
    std::uint64_t offset = 0;
    const Fragment* fragment = nullptr;  ///< valid until it is freed, or this is gone
  };
  [[nodiscard]] Found Written(std::uint64_t begin, std::uint64_t end) const noexcept;

  /// Every byte is written.
  [[nodiscard]] bool Complete() const noexcept { return written_bytes_ == bytes_; }
  /// The first byte that is not written, and whether it is taken. REQUIRES: not Complete().
  struct Gap {
    std::uint64_t byte = 0;
    bool taken = false;
  };
  [[nodiscard]] Gap FirstGap() const noexcept;
  /// By offset, taken ones too.
  [[nodiscard]] const std::map<std::uint64_t, Fragment>& fragments() const noexcept {
    return fragments_;
  }

 private:
  const std::uint64_t bytes_;
  std::uint64_t written_bytes_ = 0;
  std::map<std::uint64_t, Fragment> fragments_;
};

}  // namespace terrace

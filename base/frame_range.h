// FrameRange: which bytes of a block's frame a transfer moves, and what proves that they are right.
//
// Model. A range is `count` stretches of equal length, each `stride` bytes after the one before.
// Its bytes are counted from 0 through all stretches as if they lay together: that is how they are
// scattered, sent and checked.
//
// A frame's checksums are of its own 256 KiB pieces. A range of whole pieces is sent with theirs; a
// part of one cannot be compared with them on the other side. ChecksumRange makes the chain whole
// again: it sums the range as it will be
// sent, and compares the pieces of the frame that the range touches with the frame's checksums
// *afterwards*. What was wrong before the sum is found here; what goes wrong later is found by who
// receives the bytes and compares them with the sum.
//
// Thread: any; RangeView is a view of the frame, which outlives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/task.h"

namespace terrace {

/// Most stretches of one range.
inline constexpr std::uint32_t kStretchesMax = 65'536;

/// The default is the whole frame.
struct FrameRange {
  std::uint64_t offset = 0;  ///< of the first stretch, bytes from the frame's start
  std::uint64_t bytes = 0;   ///< of each stretch; 0: up to the frame's end, and count is 1
  std::uint64_t stride = 0;  ///< bytes from one stretch's start to the next's
  std::uint32_t count = 1;   ///< stretches

  friend bool operator==(const FrameRange&, const FrameRange&) = default;
  /// It is all of a frame of `frame_bytes`, however it says so.
  [[nodiscard]] constexpr bool IsWhole(std::uint64_t frame_bytes) const noexcept {
    return offset == 0 && count == 1 && (bytes == 0 || bytes == frame_bytes);
  }
};

/// kInvalid, naming the field, unless every stretch has bytes, lies inside a frame of `frame_bytes`
/// and begins at or after the end of the one before.
Status CheckFrameRange(const FrameRange& range, std::uint64_t frame_bytes);

/// The bytes of a range. REQUIRES of all of it: CheckFrameRange was ok.
class RangeView {
 public:
  RangeView(std::span<std::byte> frame, const FrameRange& range) noexcept;

  /// Bytes of all stretches.
  [[nodiscard]] std::uint64_t size() const noexcept { return stretch_bytes_ * count_; }
  [[nodiscard]] bool whole() const noexcept { return count_ == 1 && size() == frame_.size(); }
  [[nodiscard]] bool contiguous() const noexcept { return count_ == 1; }
  /// The bytes from `at` on, as far as they lie together. REQUIRES: at < size().
  [[nodiscard]] std::span<std::byte> From(std::uint64_t at) const noexcept {
    const std::uint64_t stretch = at / stretch_bytes_;
    const std::uint64_t inside = at % stretch_bytes_;
    return frame_.subspan(offset_ + stretch * stride_ + inside, stretch_bytes_ - inside);
  }
  /// All of them, in order.
  [[nodiscard]] std::vector<std::span<std::byte>> Stretches() const;
  /// A byte of bytes [begin, end) of the frame belongs to the range.
  [[nodiscard]] bool Touches(std::uint64_t begin, std::uint64_t end) const noexcept;
  /// The frame's own 256 KiB pieces that the range consists of; count 0: it cuts one of them, or is
  /// more than one stretch.
  struct Pieces {
    std::ptrdiff_t first = 0;
    std::ptrdiff_t count = 0;
  };
  [[nodiscard]] Pieces OwnPieces() const noexcept;
  /// Checksum64 of bytes [at, at + bytes) of the range.
  [[nodiscard]] std::uint64_t Checksum(std::uint64_t at, std::uint64_t bytes) const noexcept;
  [[nodiscard]] std::span<std::byte> frame() const noexcept { return frame_; }

 private:
  std::span<std::byte> frame_;
  std::uint64_t offset_ = 0;
  std::uint64_t stretch_bytes_ = 1;
  std::uint64_t stride_ = 0;
  std::uint64_t count_ = 1;
};

/// Fills `sums` with one XXH3-64 per 256 KiB of the range's bytes, then verifies the pieces of the
/// frame that it touches against `stored`, the checksums of the whole frame. kCorrupt: they differ.
/// Of a range of whole pieces the sums are the stored ones, and who receives it verifies.
/// The frame and `stored` are pinned by the caller until the task has ended.
Task<Status> ChecksumRange(RangeView view, std::span<const std::uint64_t> stored,
                           std::vector<std::uint64_t>* sums);

}  // namespace terrace

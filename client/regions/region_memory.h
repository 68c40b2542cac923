// RegionMemory: memory for blocks, on huge pages where the host gives them; a sealed memfd, so that
// a daemon of this host can map it, where the system makes one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "transport/socket.h"

namespace terrace {

/// Owns a mapping of its own; unmaps it. Move-only.
class RegionMemory {
 public:
  RegionMemory() noexcept = default;
  RegionMemory(RegionMemory&& other) noexcept;
  RegionMemory& operator=(RegionMemory&& other) noexcept;
  ~RegionMemory();

  /// Maps and touches `length` bytes, aligned to 2 MiB. Pages are zero. kInvalid for a length of 0
  /// or one that cannot be addressed; kRetry when the system has no memory.
  static Result<RegionMemory> Allocate(std::uint64_t length);
  /// kInvalid as of Allocate.
  static Status CheckLength(std::uint64_t length);
  /// The same in steps: Map touches nothing, Touch the pages of [offset, offset + length), as far
  /// as they are of this memory. `offset`: a multiple of 2 MiB.
  static Result<RegionMemory> Map(std::uint64_t length);
  /// How much to touch at once, bytes: some 1 ms, for which another thread of the process that maps
  /// memory waits.
  static constexpr std::uint64_t kStepBytes = 4 << 20;
  [[nodiscard]] Status Touch(std::uint64_t offset, std::uint64_t length);

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {begin_, length_}; }
  /// The memfd that begins with bytes(); null when the memory is anonymous.
  [[nodiscard]] const std::shared_ptr<const UniqueFd>& file() const noexcept { return file_; }

 private:
  std::byte* begin_ = nullptr;
  std::size_t length_ = 0;  ///< asked for
  std::size_t mapped_ = 0;  ///< length_ rounded up
  std::shared_ptr<const UniqueFd> file_;
};

}  // namespace terrace

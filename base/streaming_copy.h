// StreamingCopy: memcpy for blocks, past the caches.
//
// A block is larger than what a core's caches keep of it until it is read again. An ordinary copy
// first loads every line that it is about to overwrite, and pushes out what others would have
// found: it takes up to twice as long as one whose stores go straight to memory. Bytes that are
// read again at once are better copied by memcpy. Any thread.
#pragma once

#include <cstddef>
#include <span>

namespace terrace {

/// One of the stretches that a copy consists of.
struct CopyPart {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::size_t bytes = 0;
};

/// Copies `bytes` from `from` to `to`, which do not overlap. Other threads that learn of it in the
/// usual ways (a mutex, an atomic, a system call) see the bytes.
void StreamingCopy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;

/// The same in parts: StreamPart for each, and FinishStream before others may learn of any. Waiting
/// for the stores of each part of a few KiB by itself would cost a fifth of the speed.
void StreamPart(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;
void FinishStream() noexcept;
/// StreamingCopy of many parts, that are of use together only.
void StreamingCopy(std::span<const CopyPart> parts) noexcept;

/// Asks the memory for what a walk over `parts`, which outlive it, reads next. The processor does
/// so by itself, but begins anew at each part, and stops where a walk also computes: then whole
/// blocks are read at half the speed for seconds at a time, and parts of 8 KiB always are.
class ReadAhead {
 public:
  explicit ReadAhead(std::span<const CopyPart> parts) noexcept : parts_(parts) {
    for (std::size_t asked = 0; asked < kBytes; asked += kLineBytes) AskForLine();
  }
  /// To be called for each line that the walk reads: one every now and then costs it nothing, many
  /// at once fill what the processor remembers its open reads in.
  void AskForLine() noexcept {
    if (left_ == 0 && !NextPart()) return;
    __builtin_prefetch(next_, 0, 2);  // into the second level: the first has enough with the walk
    next_ += kLineBytes;
    left_ -= left_ < kLineBytes ? left_ : kLineBytes;
  }

 private:
  static constexpr std::size_t kLineBytes = 64;
  // So far before the walk: what memory takes, 100 to 200 ns, and a step of a hash (checksum.cc)
  // and a part's end lie between. Half as much gains less, twice as much no more.
  static constexpr std::size_t kBytes = 8 << 10;

  bool NextPart() noexcept {
    while (left_ == 0 && !parts_.empty()) {
      next_ = parts_.front().from;
      left_ = parts_.front().bytes;
      parts_ = parts_.subspan(1);
    }
    return left_ > 0;
  }

  std::span<const CopyPart> parts_;
  const std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

/// StreamPart, to `to` and `kept`: both then hold the same bytes, whatever others write to `from`
/// meanwhile. `kept` is written as usual, as it is read at once.
void StreamPartAndKeep(std::byte* to, std::byte* kept, const std::byte* from, std::size_t bytes,
                       ReadAhead& ahead) noexcept;
/// memcpy of many parts whose sources are cold.
void CopyColdParts(std::span<const CopyPart> parts) noexcept;
/// One of them. `ahead` is past it.
void CopyColdPart(std::byte* to, const std::byte* from, std::size_t bytes,
                  ReadAhead& ahead) noexcept;

}  // namespace terrace

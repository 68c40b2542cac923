// Memory that O_DIRECT takes; PageBuffer: such memory for reads and writes that may block.
//
// Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "tiers/nvme/format.h"

namespace terrace::nvme {

/// Frees what AllocatePages gave.
struct FreePages {
  void operator()(std::byte* bytes) const noexcept {
    ::operator delete[](bytes, std::align_val_t(kPageBytes));
  }
};
using Pages = std::unique_ptr<std::byte[], FreePages>;

/// `bytes` bytes on a page boundary, zeroed.
[[nodiscard]] inline Pages AllocatePages(std::size_t bytes) {
  Pages pages(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t(kPageBytes))));
  std::memset(pages.get(), 0, bytes);
  return pages;
}

class PageBuffer {
 public:
  /// REQUIRES: bytes is a multiple of kPageBytes, not 0. Its content is zeros.
  explicit PageBuffer(std::size_t bytes) : memory_(AllocatePages(bytes)), bytes_(bytes) {}
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return {memory_.get(), bytes_}; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {memory_.get(), bytes_};
  }

 private:
  Pages memory_;
  std::size_t bytes_;
};

/// The header (any of tiers/nvme/format.h) that stands in a page. REQUIRES: page.size() >=
/// kPageBytes.
template <typename Header>
[[nodiscard]] Header HeaderIn(std::span<const std::byte> page) noexcept {
  static_assert(sizeof(Header) == kPageBytes);
  Header header;
  std::memcpy(&header, page.data(), sizeof header);
  return header;
}

/// REQUIRES: page.size() >= kPageBytes.
template <typename Header>
void PutHeader(const Header& header, std::span<std::byte> page) noexcept {
  static_assert(sizeof(Header) == kPageBytes);
  std::memcpy(page.data(), &header, sizeof header);
}

}  // namespace terrace::nvme

#include "client/paged/cpu_pages.h"

#include <algorithm>
#include <array>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/streaming_copy.h"

namespace terrace::paged {
namespace {

constexpr std::size_t kLineBytes = 64;
// What is read is asked of the memory so long before: pages lie anywhere, so that the processor,
// which reads ahead of a walk by itself, begins anew at each unit. Half of it gains less.
constexpr std::size_t kAheadBytes = 4096;
constexpr std::size_t kAheadUnitsMax = 32;

/// Of a unit on the paged side, without what the innermost dimension adds.
struct Row {
  std::uint64_t paged = 0;
  std::uint64_t stored = 0;
};

void Step(const PageDim& dim, const PageTables& tables, std::uint32_t index, Row& row) {
  row.stored += index * dim.stored_stride;
  if (dim.kind == DimKind::kLayer) {
    row.paged += tables.layer_bases[index];
    return;
  }
  const std::uint32_t steps = dim.kind == DimKind::kPage ? tables.pages[index] : index;
  row.paged += static_cast<std::uint64_t>(static_cast<std::int64_t>(steps) * dim.paged_stride);
}

/// Calls `visit` with each row of the innermost dimension, in the order of the frame.
template <typename Visit>
void ForEachRow(const PageMap& map, const PageTables& tables, const Visit& visit) {
  std::array<std::uint32_t, kMaxPageDims> index{};
  const std::uint32_t outer = map.dims - 1;
  while (true) {
    Row row;
    for (std::uint32_t i = 0; i < outer; ++i) Step(map.dim[i], tables, index[i], row);
    visit(row);
    std::uint32_t i = outer;
    while (i > 0) {
      --i;
      if (++index[i] < map.dim[i].count.divisor) break;
      index[i] = 0;
      if (i == 0) return;
    }
    if (outer == 0) return;
  }
}

/// Calls `copy(paged address, bytes from the frame's start)` for each unit.
template <typename Copy>
void ForEachUnit(const PageMap& map, const PageTables& tables, const Copy& copy) {
  const PageDim& inner = map.dim[map.dims - 1];
  ForEachRow(map, tables, [&](Row row) {
    if (inner.kind == DimKind::kStride) {  // the usual one: nothing to look up
      for (std::uint32_t i = 0; i < inner.count.divisor; ++i) {
        copy(row.paged, row.stored);
        row.paged += static_cast<std::uint64_t>(inner.paged_stride);
        row.stored += inner.stored_stride;
      }
      return;
    }
    for (std::uint32_t i = 0; i < inner.count.divisor; ++i) {
      Row unit = row;
      Step(inner, tables, i, unit);
      copy(unit.paged, unit.stored);
    }
  });
}

/// Copies one unit past the caches, and asks for the bytes at `next` meanwhile (null: for none).
using CopyUnit = void (*)(std::byte* to, const std::byte* from, std::size_t bytes,
                          const std::byte* next);

#if defined(__x86_64__)

/// Bytes before the first whole line of `to`.
std::size_t HeadOf(const std::byte* to, std::size_t bytes) {
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(to) % kLineBytes;
  return misaligned == 0 ? 0 : std::min(bytes, kLineBytes - misaligned);
}

/// Asks for what is read kAheadBytes after the line at `done`.
[[gnu::always_inline]] inline void AskAhead(const std::byte* from, std::size_t done,
                                            std::size_t bytes, const std::byte* next) {
  if (done + kAheadBytes < bytes) {
    __builtin_prefetch(from + done + kAheadBytes, 0, 2);
  } else if (next != nullptr) {
    __builtin_prefetch(next + (done + kAheadBytes - bytes), 0, 2);
  }
}

[[gnu::target("avx512f")]] void CopyUnit512(std::byte* to, const std::byte* from, std::size_t bytes,
                                            const std::byte* next) {
  std::size_t done = HeadOf(to, bytes);
  if (done != 0) std::memcpy(to, from, done);
  for (; bytes - done >= kLineBytes; done += kLineBytes) {
    AskAhead(from, done, bytes, next);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + done), _mm512_loadu_si512(from + done));
  }
  if (done != bytes) std::memcpy(to + done, from + done, bytes - done);
}

[[gnu::target("avx2")]] void CopyUnit256(std::byte* to, const std::byte* from, std::size_t bytes,
                                         const std::byte* next) {
  std::size_t done = HeadOf(to, bytes);
  if (done != 0) std::memcpy(to, from, done);
  for (; bytes - done >= kLineBytes; done += kLineBytes) {
    AskAhead(from, done, bytes, next);
    const auto* source = reinterpret_cast<const __m256i*>(from + done);
    auto* destination = reinterpret_cast<__m256i*>(to + done);
    _mm256_stream_si256(destination, _mm256_loadu_si256(source));
    _mm256_stream_si256(destination + 1, _mm256_loadu_si256(source + 1));
  }
  if (done != bytes) std::memcpy(to + done, from + done, bytes - done);
}

#endif

void CopyUnitPlain(std::byte* to, const std::byte* from, std::size_t bytes, const std::byte*) {
  StreamPart(to, from, bytes);
}

CopyUnit UnitCopyOf(CpuWidth width) {
#if defined(__x86_64__)
  if (width == CpuWidth::kAvx512) return CopyUnit512;
  if (width == CpuWidth::kAvx2) return CopyUnit256;
#endif
  return CopyUnitPlain;
}

/// Units on their way: each is copied when so many later ones are known that what they read has
/// been asked for in time.
class UnitStream {
 public:
  explicit UnitStream(std::size_t bytes)
      : bytes_(bytes),
        ahead_(std::clamp<std::size_t>(kAheadBytes / bytes, 1, kAheadUnitsMax)),
        copy_(UnitCopyOf(WidthOfCpu())) {}

  void Add(std::byte* to, const std::byte* from) {
    const bool small = bytes_ < kAheadBytes;
    if (small) {
      for (std::size_t done = 0; done < bytes_; done += kLineBytes) {
        __builtin_prefetch(from + done, 0, 2);
      }
    }
    Unit& slot = units_[added_ % ahead_];
    if (added_ >= ahead_) copy_(slot.to, slot.from, bytes_, small ? nullptr : from);
    slot = {to, from};
    ++added_;
  }
  /// Copies what is left; the bytes are there for other threads then.
  void Finish() {
    for (std::size_t i = added_ - std::min(added_, ahead_); i < added_; ++i) {
      const Unit& slot = units_[i % ahead_];
      copy_(slot.to, slot.from, bytes_, nullptr);
    }
    FinishStream();
  }

 private:
  struct Unit {
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
  };
  const std::size_t bytes_;
  const std::size_t ahead_;
  const CopyUnit copy_;
  std::size_t added_ = 0;
  std::array<Unit, kAheadUnitsMax> units_;
};

}  // namespace

void Gather(const PageMap& map, const PageTables& tables, std::byte* frame) noexcept {
  UnitStream stream(map.unit_bytes);
  ForEachUnit(map, tables, [&](std::uint64_t paged, std::uint64_t stored) {
    stream.Add(frame + stored, AddressOf(paged));
  });
  stream.Finish();
}

void Scatter(const PageMap& map, const PageTables& tables, const std::byte* frame) noexcept {
  UnitStream stream(map.unit_bytes);
  ForEachUnit(map, tables, [&](std::uint64_t paged, std::uint64_t stored) {
    stream.Add(AddressOf(paged), frame + stored);
  });
  stream.Finish();
}

}  // namespace terrace::paged

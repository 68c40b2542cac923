#include "tiers/nvme/index_entry.h"

#include <bit>
#include <concepts>
#include <cstddef>
#include <utility>

namespace terrace::nvme {

namespace {

/// Appends numbers; reads them back in the same order.
class Writer {
 public:
  template <std::unsigned_integral Number>
  Writer& Little(Number number) {
    for (std::size_t byte = 0; byte < sizeof number; ++byte) Byte(number >> (8 * byte));
    return *this;
  }
  template <std::unsigned_integral Number>
  Writer& Big(Number number) {
    for (std::size_t byte = sizeof number; byte-- > 0;) Byte(number >> (8 * byte));
    return *this;
  }
  Writer& Text(std::string_view text) {
    Little(static_cast<std::uint8_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  Writer& Raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  [[nodiscard]] std::string Take() { return std::move(bytes_); }

 private:
  void Byte(std::uint64_t value) { bytes_ += static_cast<char>(value & 0xff); }
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <std::unsigned_integral Number>
  Reader& Little(Number& number) {
    number = 0;
    for (std::size_t byte = 0; byte < sizeof number; ++byte) {
      number = static_cast<Number>(number | static_cast<Number>(Byte()) << (8 * byte));
    }
    return *this;
  }
  template <std::unsigned_integral Number>
  Reader& Big(Number& number) {
    number = 0;
    for (std::size_t byte = 0; byte < sizeof number; ++byte) {
      number = static_cast<Number>(static_cast<std::uint64_t>(number) << 8 | Byte());
    }
    return *this;
  }
  Reader& Text(std::string& text) {
    const std::size_t length = Byte();
    if (bytes_.size() < length) failed_ = true;
    if (failed_) return *this;
    text = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return *this;
  }
  Reader& Skip(std::string_view expected) {
    if (!bytes_.starts_with(expected)) failed_ = true;
    if (!failed_) bytes_.remove_prefix(expected.size());
    return *this;
  }
  /// All was there, and nothing is left.
  [[nodiscard]] bool Done() const noexcept { return !failed_ && bytes_.empty(); }

 private:
  std::uint64_t Byte() {
    if (bytes_.empty()) failed_ = true;
    if (failed_) return 0;
    const auto byte = static_cast<unsigned char>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }
  std::string_view bytes_;
  bool failed_ = false;
};

constexpr std::string_view kBlock = "b";
constexpr std::string_view kCleared = "c";
constexpr std::string_view kMarker = "w";

}  // namespace

std::string BlockPrefix(std::uint32_t slice) {
  return Writer().Raw(kBlock).Big(static_cast<std::uint16_t>(slice)).Take();
}

std::string ClearedPrefix(std::uint32_t slice) {
  return Writer().Raw(kCleared).Big(static_cast<std::uint16_t>(slice)).Take();
}

std::string BlockKey(std::uint32_t slice, std::uint32_t namespace_id, const Hash128& hash) {
  return Writer().Raw(BlockPrefix(slice)).Big(namespace_id).Big(hash.high).Big(hash.low).Take();
}

std::string BlockValue(const IndexedBlock& block) {
  return Writer()
      .Little(block.place.segment_plus_one)
      .Little(block.place.page)
      .Little(block.place.generation)
      .Little(block.sequence)
      .Little(block.block_bytes)
      .Little(block.position)
      .Little(block.valid_tokens)
      .Little(block.parent.low)
      .Little(block.parent.high)
      .Take();
}

std::optional<std::uint32_t> BlockSlice(std::string_view key) {
  std::uint16_t slice = 0;
  std::uint32_t namespace_id = 0;
  Hash128 hash;
  Reader name(key);
  name.Skip(kBlock).Big(slice).Big(namespace_id).Big(hash.high).Big(hash.low);
  if (!name.Done()) return {};
  return slice;
}

std::optional<IndexedBlock> ReadBlock(std::string_view key, std::string_view value) {
  IndexedBlock block;
  std::uint16_t slice = 0;
  Reader name(key);
  name.Skip(kBlock).Big(slice).Big(block.namespace_id).Big(block.hash.high).Big(block.hash.low);
  Reader reader(value);
  reader.Little(block.place.segment_plus_one)
      .Little(block.place.page)
      .Little(block.place.generation)
      .Little(block.sequence)
      .Little(block.block_bytes)
      .Little(block.position)
      .Little(block.valid_tokens)
      .Little(block.parent.low)
      .Little(block.parent.high);
  if (!name.Done() || !reader.Done() || !block.place.exists()) return {};
  return block;
}

std::string RemovedValue(std::uint64_t sequence) { return Writer().Little(sequence).Take(); }

std::optional<Removed> ReadRemoved(std::string_view key, std::string_view value) {
  Removed removed;
  std::uint16_t slice = 0;
  Reader name(key);
  name.Skip(kBlock).Big(slice).Big(removed.namespace_id).Big(removed.hash.high);
  name.Big(removed.hash.low);
  Reader reader(value);
  reader.Little(removed.sequence);
  if (!name.Done() || !reader.Done()) return {};
  removed.slice = slice;
  return removed;
}

std::string ClearedKey(std::uint32_t slice, std::uint32_t namespace_id) {
  return Writer().Raw(ClearedPrefix(slice)).Big(namespace_id).Take();
}

std::string ClearedValue(std::uint64_t sequence) { return Writer().Little(sequence).Take(); }

std::optional<Cleared> ReadCleared(std::string_view key, std::string_view value) {
  Cleared cleared;
  std::uint16_t slice = 0;
  Reader name(key);
  name.Skip(kCleared).Big(slice).Big(cleared.namespace_id);
  Reader reader(value);
  reader.Little(cleared.sequence);
  if (!name.Done() || !reader.Done()) return {};
  return cleared;
}

std::string MarkerKey(std::uint32_t slice) {
  return Writer().Raw(kMarker).Big(static_cast<std::uint16_t>(slice)).Take();
}

std::string MarkerValue(const IndexMarker& marker) {
  return Writer().Little(marker.sequence).Little(static_cast<std::uint8_t>(marker.final)).Take();
}

std::optional<IndexMarker> ReadMarker(std::string_view value) {
  IndexMarker marker;
  std::uint8_t final = 0;
  Reader reader(value);
  reader.Little(marker.sequence).Little(final);
  if (!reader.Done() || final > 1) return {};
  marker.final = final == 1;
  return marker;
}

std::string NamespaceKey(std::uint32_t id) { return Writer().Raw(kNamespacePrefix).Big(id).Take(); }

std::string NamespaceValue(const IndexedNamespace& space) {
  return Writer()
      .Little(space.fingerprint.low)
      .Little(space.fingerprint.high)
      .Text(space.tenant)
      .Text(space.name)
      .Take();
}

std::optional<IndexedNamespace> ReadNamespace(std::string_view key, std::string_view value) {
  IndexedNamespace space;
  Reader name(key);
  name.Skip(kNamespacePrefix).Big(space.id);
  Reader reader(value);
  reader.Little(space.fingerprint.low)
      .Little(space.fingerprint.high)
      .Text(space.tenant)
      .Text(space.name);
  if (!name.Done() || !reader.Done() || space.id == 0) return {};
  return space;
}

std::string StoreValue(const IndexedStore& store) {
  return Writer()
      .Little(store.store_id.low)
      .Little(store.store_id.high)
      .Little(store.version)
      .Little(store.slices)
      .Take();
}

std::optional<IndexedStore> ReadStore(std::string_view value) {
  IndexedStore store;
  Reader reader(value);
  reader.Little(store.store_id.low)
      .Little(store.store_id.high)
      .Little(store.version)
      .Little(store.slices);
  if (!reader.Done()) return {};
  return store;
}

}  // namespace terrace::nvme

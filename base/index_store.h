// IndexStore: durable metadata of the NVMe tier, a map from bytes to bytes written in batches.
//
// Used off the reactors, by one thread that may block (RocksDB stalls); the live index is in RAM
// and nothing on a get ever waits for this store.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace terrace {

class IndexStore {
 public:
  struct Change {
    enum class Kind : std::uint8_t { kPut, kDelete };
    Kind kind = Kind::kPut;
    std::string key;
    std::string value;  ///< empty for kDelete
  };

  virtual ~IndexStore() = default;

  /// Applies all changes or none. With `durable`, an ok answer means that they survive power loss;
  /// without it they survive kill -9 and are lost by power loss at most back to the last Sync.
  virtual Status Write(std::span<const Change> changes, bool durable) = 0;
  /// Makes everything written so far durable.
  virtual Status Sync() = 0;
  /// Calls `visit` for every entry whose key starts with `prefix`, in key order, until it returns
  /// false. kCorrupt when an entry cannot be read: what was visited before it is good.
  virtual Status Scan(
      std::string_view prefix,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) = 0;
};

}  // namespace terrace

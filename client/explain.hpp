// Terrace client library: the stories of blocks, for people who ask why a block is missed. Included
// by terrace.hpp. Plain data, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "base/block_event.h"
#include "base/miss_reason.h"
#include "client/types.hpp"

namespace terrace {

struct ExplainQuery {
  std::string space;  ///< Name of a namespace of the client's tenant; it need not be opened.
  BlockKind block{};
  std::span<const std::span<const std::byte>> keys;  ///< 1 to 4096, of 1 to 64 bytes each.
};

/// What the daemon knows of a block.
struct BlockStoryInfo {
  /// What a get would meet now; kNone: it would get the bytes.
  MissReason reason = MissReason::kNeverSeen;
  std::uint32_t reactor = 0;  ///< Who knows; means nothing with kNeverSeen.
  bool published = false;     ///< Visible to gets; what follows is of such a block.
  TierSet tiers = 0;
  bool loading = false;        ///< From NVMe, at this moment.
  bool writing = false;        ///< To NVMe, or waits for that.
  bool kept = false;           ///< By a label.
  bool leased = false;         ///< By a match.
  std::uint32_t pins = 0;      ///< Transfers and loans that use it now.
  std::uint32_t position = 0;  ///< In its chain.
  std::uint32_t valid_tokens = 0;
  std::uint32_t gets = 0;  ///< Since it was put or written again; 2 stands for more, too.
  std::uint64_t block_bytes = 0;
  /// Published: since it was put, or found by a start, in whole minutes. Else since it left.
  std::chrono::milliseconds age{0};
};

}  // namespace terrace

// PutState: what the steps of a put share: put_flow.cc, and fragment_flow.cc for a block that comes
// in parts. It lives in the frame of the flow, which joins every worker before it ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/cache_impl.h"

namespace terrace {

struct Cache::Impl::PutState {
  Link& link;
  const PutRequest& request;
  const Namespace* space = nullptr;
  std::uint64_t block_bytes = 0;
  std::vector<WantedBlock> wanted;
  std::vector<std::uint32_t> first_of_same;
  /// Blocks of this chain: not to be evicted for their own descendants.
  BlockSet chain_blocks;
  std::size_t next = 0;  ///< index into `wanted` of the block that is started next
  /// One block found no room, so neither do its descendants: they would be of no use without it.
  bool full = false;
  /// Of the request: as its client said until the first block comes, then as the policy says.
  RequestFacts facts{};
  bool extends = false;  ///< the policy was asked
  BatchAnswer answer;

  /// Ancestors above a request's own blocks that are kept from eviction for its sake. As many as
  /// eviction looks at candidates (evict.cc): the policy offers the deepest of a chain first.
  static constexpr std::size_t kAncestorsMax = 64;
};

}  // namespace terrace

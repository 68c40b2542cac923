// BlockClient: a client of the daemon whose every call the oracle hears of, before and after, and
// whose every block is checked.
//
// Model. One region of memory holds the blocks of one call. A call answers false when this client
// is of no more use: the daemon is gone, or may still touch the region.
//
// Thread: one. Lifetime: oracle and findings outlive it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/terrace.hpp"
#include "tests/crash/findings.h"
#include "tests/crash/oracle.h"
#include "tests/crash/plan.h"

namespace terrace::crash {

/// Blocks [first, first + count) of a chain.
struct Stretch {
  std::uint32_t space = 0;
  std::uint32_t chain = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

class BlockClient {
 public:
  struct Options {
    std::string address;
    std::string name;
    LinkChoice link = LinkChoice::kAuto;
    std::uint64_t store_id = 0;  ///< in the bytes of the blocks
  };
  static Result<std::unique_ptr<BlockClient>> Connect(const Options& options, Oracle& oracle,
                                                      Findings& findings);

  /// Opens the namespaces [0, spaces.size()) that are not open yet.
  Status Open(const std::vector<SpacePlan>& spaces);

  bool Put(const Stretch& stretch, bool durable);
  /// While others are at work: a miss of what must be there is noted for later judgement.
  bool Get(const Stretch& stretch);
  bool Remove(const Stretch& stretch);
  bool Clear(std::uint32_t space);
  bool Match(const Stretch& stretch);

  /// Gets blocks and checks those that came; the statuses are the caller's to judge.
  Result<std::vector<BlockResult>> Fetch(const Stretch& stretch);
  [[nodiscard]] Client& client() noexcept { return *client_; }

 private:
  BlockClient(const Options& options, std::unique_ptr<Client> client, Oracle& oracle,
              Findings& findings);
  [[nodiscard]] std::span<std::byte> MemoryOf(const Stretch& stretch, std::uint32_t index) const;
  [[nodiscard]] std::vector<BlockBuffer> BuffersOf(const Stretch& stretch) const;
  void CheckBlock(const Place& place, const BlockResult& result, std::span<const std::byte> bytes,
                  Tick began);
  static bool Usable(StatusCode code) noexcept;

  const Options options_;
  std::unique_ptr<Client> client_;
  Oracle& oracle_;
  Findings& findings_;
  RegionId region_;
  std::vector<SpacePlan> spaces_;
  std::vector<NamespaceId> ids_;
};

/// The name of a namespace of the campaign.
std::string SpaceName(std::uint32_t space);

}  // namespace terrace::crash

#include "client/calls/validation.h"

#include <string>
#include <string_view>
#include <vector>

#include "base/device_export.h"
#include "base/limits.h"
#include "client/plan/compute_time.h"
#include "client/session/address.h"

namespace terrace {
namespace {

Status OutOfRange(const std::string& what, std::uint64_t value, std::uint64_t least,
                  std::uint64_t most) {
  return Status::Invalid(what + " is " + std::to_string(value) + ", not " + std::to_string(least) +
                         " to " + std::to_string(most));
}

Status CheckRange(const char* what, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
  if (value < least || value > most) return OutOfRange(what, value, least, most);
  return {};
}

/// `text` has `least` to `most` bytes.
Status CheckText(const char* what, std::string_view text, std::size_t least, std::size_t most) {
  if (text.size() < least || text.size() > most) {
    return OutOfRange(std::string("the length of ") + what, text.size(), least, most);
  }
  return {};
}

Status ValidateGroups(const std::vector<GroupSpec>& groups) {
  if (Status status = CheckRange("the number of groups", groups.size(), 1, kGroupsMax);
      !status.ok()) {
    return status;
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const GroupSpec& group = groups[i];
    const std::string name = "groups[" + std::to_string(i) + "]";
    if (group.block_bytes < kBlockBytesMin || group.block_bytes > kBlockBytesMax) {
      return OutOfRange(name + ".block_bytes", group.block_bytes, kBlockBytesMin, kBlockBytesMax);
    }
    if (group.attention.empty() || group.attention.size() > kDescriptorTextBytesMax) {
      return OutOfRange("the length of " + name + ".attention", group.attention.size(), 1,
                        kDescriptorTextBytesMax);
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (groups[j].id == group.id) {
        return Status::Invalid(name + ".id is " + std::to_string(group.id) + ", as is groups[" +
                               std::to_string(j) + "].id");
      }
    }
  }
  return {};
}

/// The positions of one call: each in the chain, and named once.
class PositionsNamed {
 public:
  PositionsNamed(const Chain& chain, std::size_t count)
      : size_(chain.size()), named_(count > 1 ? chain.size() : 0) {}
  /// What is wrong with it; empty: nothing.
  std::string Add(std::uint32_t position) {
    if (position >= size_) {
      return "is " + std::to_string(position) + ", the chain has " + std::to_string(size_) +
             " keys";
    }
    if (named_.empty()) return {};
    if (named_[position]) return std::to_string(position) + " was named before";
    named_[position] = true;
    return {};
  }

 private:
  const std::uint32_t size_;
  std::vector<bool> named_;
};

}  // namespace

Status ValidateOptions(const ClientOptions& options) {
  if (Result<Address> address = ParseAddress(options.address); !address.ok()) {
    return address.status();
  }
  if (Status status = CheckText("tenant", options.tenant, 1, kNameBytesMax); !status.ok()) {
    return status;
  }
  if (Status status = CheckText("name", options.name, 0, kNameBytesMax); !status.ok()) {
    return status;
  }
  if (options.link != LinkChoice::kAuto && options.link != LinkChoice::kTcp) {
    return Status::Invalid("link is " + std::to_string(static_cast<int>(options.link)) +
                           ", not a LinkChoice");
  }
  constexpr std::chrono::milliseconds kConnectMax = std::chrono::hours(1);
  if (options.connect_timeout < std::chrono::milliseconds(1) ||
      options.connect_timeout > kConnectMax) {
    return Status::Invalid("connect_timeout is " + std::to_string(options.connect_timeout.count()) +
                           " ms, not 1 ms to 1 h");
  }
  constexpr std::chrono::microseconds kSpinMax = std::chrono::seconds(1);
  if (options.spin < std::chrono::microseconds(0) || options.spin > kSpinMax) {
    return Status::Invalid("spin is " + std::to_string(options.spin.count()) +
                           " us, not 0 to 1000000");
  }
  return {};
}

Status ValidateDescriptor(const NamespaceDescriptor& descriptor) {
  if (Status status = CheckText("name", descriptor.name, 1, kNameBytesMax); !status.ok()) {
    return status;
  }
  const struct {
    const char* what;
    const std::string& text;
  } texts[] = {
      {"model", descriptor.model},         {"weights", descriptor.weights},
      {"kv_dtype", descriptor.kv_dtype},   {"layout", descriptor.layout},
      {"hash_seed", descriptor.hash_seed}, {"hash_algorithm", descriptor.hash_algorithm},
  };
  for (const auto& [what, text] : texts) {
    if (Status status = CheckText(what, text, 0, kDescriptorTextBytesMax); !status.ok()) {
      return status;
    }
  }
  const struct {
    const char* what;
    std::uint64_t value, least, most;
  } numbers[] = {
      {"block_tokens", descriptor.block_tokens, 1, 0xffffffff},
      {"shard_count", descriptor.shard_count, 1, kShardsMax},
      {"run_blocks", descriptor.run_blocks, 1, kRunBlocksMax},
  };
  for (const auto& [what, value, least, most] : numbers) {
    if (Status status = CheckRange(what, value, least, most); !status.ok()) return status;
  }
  if (!descriptor.prefill_rate.empty()) {
    Status status = CheckRate(descriptor.prefill_rate, "prefill_rate");
    if (!status.ok()) return status;
  }
  return ValidateGroups(descriptor.groups);
}

Status ValidateChain(const NamespaceDescriptor& descriptor, const Chain& chain, BlockKind kind) {
  if (chain.size() == 0) return Status::Invalid("chain is empty");
  if (kind.shard >= descriptor.shard_count) {
    return Status::Invalid("kind.shard is " + std::to_string(kind.shard) + ", namespace \"" +
                           descriptor.name + "\" has " + std::to_string(descriptor.shard_count));
  }
  for (const GroupSpec& group : descriptor.groups) {
    if (group.id == kind.group) return {};
  }
  return Status::Invalid("kind.group is " + std::to_string(kind.group) +
                         ", not a group of namespace \"" + descriptor.name + "\"");
}

Status ValidatePositions(const Chain& chain, std::span<const std::uint32_t> positions) {
  if (Status status = CheckRange("the number of positions", positions.size(), 1, kChainBlocksMax);
      !status.ok()) {
    return status;
  }
  PositionsNamed named(chain, positions.size());
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (const std::string wrong = named.Add(positions[i]); !wrong.empty()) {
      return Status::Invalid("positions[" + std::to_string(i) + "] " + wrong);
    }
  }
  return {};
}

Status ValidateBlocks(const NamespaceDescriptor& descriptor, const Chain& chain,
                      std::span<const BlockBuffer> blocks) {
  if (Status status = CheckRange("the number of blocks", blocks.size(), 1, kChainBlocksMax);
      !status.ok()) {
    return status;
  }
  PositionsNamed named(chain, blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const BlockBuffer& block = blocks[i];
    if (const std::string wrong = named.Add(block.position); !wrong.empty()) {
      return Status::Invalid("blocks[" + std::to_string(i) + "].position " + wrong);
    }
    if (block.valid_tokens > descriptor.block_tokens) {
      return Status::Invalid("blocks[" + std::to_string(i) + "].valid_tokens is " +
                             std::to_string(block.valid_tokens) + ", a block holds " +
                             std::to_string(descriptor.block_tokens));
    }
  }
  return {};
}

Status ValidateAck(Ack ack) {
  if (ack <= Ack::kDurable) return {};
  return Status::Invalid("ack is " + std::to_string(static_cast<unsigned>(ack)) +
                         ", not kCommitted or kDurable");
}

Status ValidateTokenIds(std::span<const std::span<const std::uint32_t>> token_ids,
                        std::size_t blocks) {
  if (token_ids.empty()) return {};
  if (token_ids.size() != blocks) {
    return Status::Invalid("token_ids has " + std::to_string(token_ids.size()) +
                           " entries, not one for each of " + std::to_string(blocks) + " blocks");
  }
  for (std::size_t i = 0; i < token_ids.size(); ++i) {
    if (token_ids[i].size() <= kEventTokensMax) continue;
    return Status::Invalid("token_ids[" + std::to_string(i) + "] has " +
                           std::to_string(token_ids[i].size()) + " ids, at most " +
                           std::to_string(kEventTokensMax));
  }
  return {};
}

Status ValidateLease(std::chrono::milliseconds lease) {
  constexpr std::chrono::milliseconds kMost{60'000};
  if (lease.count() >= 0 && lease <= kMost) return {};
  return Status::Invalid("lease is " + std::to_string(lease.count()) + " ms, not 0 to " +
                         std::to_string(kMost.count()));
}

Status ValidateLendGpu(const std::string& gpu) {
  if (gpu.size() <= DeviceExport::kGpuBytesMax) return {};
  return Status::Invalid("options.gpu has " + std::to_string(gpu.size()) + " bytes, at most " +
                         std::to_string(DeviceExport::kGpuBytesMax));
}

Status ValidateLabel(const char* what, std::string_view label) {
  return CheckText(what, label, 1, kNameBytesMax);
}

Status ValidateRetainTime(std::chrono::milliseconds time) {
  constexpr std::chrono::milliseconds kMost = std::chrono::hours(24);
  if (time.count() >= 1 && time <= kMost) return {};
  return Status::Invalid("options.time is " + std::to_string(time.count()) + " ms, not 1 to " +
                         std::to_string(kMost.count()));
}

Status ValidateRange(const Chain& chain, std::uint32_t first, std::uint32_t count) {
  if (count == 0) return Status::Invalid("count is 0");
  if (first >= chain.size() || count > chain.size() - first) {
    return Status::Invalid("first " + std::to_string(first) + " and count " +
                           std::to_string(count) + " reach past the chain of " +
                           std::to_string(chain.size()) + " keys");
  }
  return {};
}

}  // namespace terrace

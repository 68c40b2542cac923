// The daemon's replies as wire messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tools/terraced/service/request_service.h"

namespace terrace {

struct NamespaceUsage {
  const Namespace* space = nullptr;
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

std::vector<std::byte> MakeErrorReply(std::uint64_t request_id, const Status& status);
std::vector<std::byte> MakeOpenNamespaceReply(std::uint64_t request_id, const Namespace& space);
std::vector<std::byte> MakeMatchReply(std::uint64_t request_id, const MatchAnswer& answer);
std::vector<std::byte> MakeMatchGroupsReply(std::uint64_t request_id, const GroupsAnswer& answer);
/// `asked`: what a put waited for; the levels that were reached are told only when it is kDurable.
/// `lent`: a get whose frames were lent.
std::vector<std::byte> MakeBlocksReply(std::uint64_t request_id, const BatchAnswer& answer,
                                       Ack asked, bool lent = false);
std::vector<std::byte> MakeStatReply(std::uint64_t request_id,
                                     const std::vector<StatEntry>& entries);
std::vector<std::byte> MakeListNamespacesReply(std::uint64_t request_id,
                                               const std::vector<NamespaceUsage>& usages);
/// `stories`: one per key of the question.
std::vector<std::byte> MakeExplainReply(std::uint64_t request_id,
                                        const std::vector<BlockStory>& stories);
std::vector<std::byte> MakeCountReply(std::uint64_t request_id, std::uint64_t blocks);
std::vector<std::byte> MakeClearNamespaceReply(std::uint64_t request_id, std::uint64_t blocks);

}  // namespace terrace

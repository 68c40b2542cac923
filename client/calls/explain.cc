// Client: stories of blocks. Every reactor is asked, and the one that knows most of a block is
// heard.
#include "client/explain.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "base/limits.h"
#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/terrace.hpp"
#include "client/wire/explain_reply.h"

namespace terrace {
namespace {

Status ValidateExplain(const ExplainQuery& query) {
  if (query.space.empty() || query.space.size() > kNameBytesMax) {
    return Status::Invalid("query.space has " + std::to_string(query.space.size()) +
                           " bytes, not 1 to " + std::to_string(kNameBytesMax));
  }
  if (query.keys.empty() || query.keys.size() > kExplainKeysMax) {
    return Status::Invalid("query.keys has " + std::to_string(query.keys.size()) +
                           " entries, not 1 to " + std::to_string(kExplainKeysMax));
  }
  for (std::size_t i = 0; i < query.keys.size(); ++i) {
    if (!query.keys[i].empty() && query.keys[i].size() <= kKeyBytesMax) continue;
    return Status::Invalid("query.keys[" + std::to_string(i) + "] has " +
                           std::to_string(query.keys[i].size()) + " bytes, not 1 to " +
                           std::to_string(kKeyBytesMax));
  }
  return {};
}

/// How much a story says: what is stored here, then what comes, then what left, the latest first.
int Weight(const BlockStoryInfo& story) {
  if (story.published) return 4;
  if (story.reason == MissReason::kPending) return 3;
  if (story.reason == MissReason::kNeverSeen) return 0;
  return story.reason == MissReason::kPutRefused ? 1 : 2;
}

bool SaysMore(const BlockStoryInfo& one, const BlockStoryInfo& other) {
  const int weight = Weight(one);
  if (weight != Weight(other)) return weight > Weight(other);
  return weight > 0 && weight < 3 && one.age < other.age;
}

BlockStoryInfo Take(const wire::BlockStory& story, std::uint32_t reactor) {
  BlockStoryInfo info;
  info.reason = static_cast<MissReason>(story.reason());
  info.reactor = reactor;
  info.published = (story.flags() & 1U) != 0;
  info.loading = (story.flags() & 2U) != 0;
  info.writing = (story.flags() & 4U) != 0;
  info.kept = (story.flags() & 8U) != 0;
  info.leased = (story.flags() & 16U) != 0;
  info.tiers = story.tiers();
  info.pins = story.pins();
  info.position = story.position();
  info.valid_tokens = story.valid_tokens();
  info.gets = story.gets();
  info.block_bytes = story.block_bytes();
  constexpr std::uint64_t kAgeMsMax = std::uint64_t{1} << 40;  // 35 years
  info.age = std::chrono::milliseconds(std::min(story.age_ms(), kAgeMsMax));
  return info;
}

}  // namespace

void ApplyStories(Request& request, const RequestPart& part, const wire::Message& message) {
  const auto fail = [&request](const std::string& why) {
    if (request.status.ok()) request.status = Status::Internal(why);
  };
  const wire::ExplainReply* reply = message.body_as_ExplainReply();
  if (reply == nullptr) {
    return fail("the daemon's " + std::string(BodyName(message.body_type())) +
                " answers a question for stories");
  }
  const std::size_t count = reply->stories() == nullptr ? 0 : reply->stories()->size();
  if (count != request.stories.size()) {
    return fail("the daemon tells " + std::to_string(count) + " stories of " +
                std::to_string(request.stories.size()) + " blocks");
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const wire::BlockStory& story = *reply->stories()->Get(i);
    // A reason that this version does not know is told as it is: the daemon may be newer.
    const BlockStoryInfo info = Take(story, part.shard);
    if (SaysMore(info, request.stories[i])) request.stories[i] = info;
  }
}

RequestRef RequestBuilder::Explain(const ExplainQuery& query) const {
  RequestRef request = EachShard(RequestKind::kExplain, [&query](const MessageHead& head) {
    return BuildMessage<wire::Explain>(head, [&query](flatbuffers::FlatBufferBuilder& builder) {
      std::vector<std::uint8_t> bytes;
      std::vector<std::uint8_t> lengths;
      for (const std::span<const std::byte> key : query.keys) {
        lengths.push_back(static_cast<std::uint8_t>(key.size()));
        for (const std::byte byte : key) bytes.push_back(std::to_integer<std::uint8_t>(byte));
      }
      const auto space = builder.CreateString(query.space);
      const auto keys = builder.CreateVector(bytes);
      const auto key_bytes = builder.CreateVector(lengths);
      return wire::CreateExplain(builder, space, query.block.group, query.block.shard, keys,
                                 key_bytes);
    });
  });
  request->stories.resize(query.keys.size());
  return request;
}

Result<std::vector<BlockStoryInfo>> Client::Explain(const ExplainQuery& query, Deadline deadline) {
  if (Status status = ValidateExplain(query); !status.ok()) return status;
  const auto request = impl_->PreparePlain(
      deadline, [&query](const RequestBuilder& builder) { return builder.Explain(query); });
  return AnswerOf<std::vector<BlockStoryInfo>>(
      impl_->Run(request), request, [](Request& call) { return std::move(call.stories); });
}

}  // namespace terrace

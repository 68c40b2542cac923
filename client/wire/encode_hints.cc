#include "client/wire/encode_hints.h"

namespace terrace {

using flatbuffers::FlatBufferBuilder;

std::vector<std::byte> EncodePrefetch(const MessageHead& head, const BlockQuestion& question,
                                      const PrefetchOptions& options) {
  return BuildMessage<wire::Prefetch>(head, [&](FlatBufferBuilder& builder) {
    const auto runs = EncodeRuns(builder, question);
    return wire::CreatePrefetch(builder, question.placement.daemon_namespace, question.kind.group,
                                question.kind.shard, runs,
                                static_cast<std::uint8_t>(options.target), options.priority);
  });
}

std::vector<std::byte> EncodeTouch(const MessageHead& head, const BlockQuestion& question) {
  return BuildMessage<wire::Touch>(head, [&question](FlatBufferBuilder& builder) {
    const auto runs = EncodeRuns(builder, question);
    return wire::CreateTouch(builder, question.placement.daemon_namespace, question.kind.group,
                             question.kind.shard, runs);
  });
}

std::vector<std::byte> EncodeRetain(const MessageHead& head, const BlockQuestion& question,
                                    const RetainOptions& options) {
  return BuildMessage<wire::Retain>(head, [&](FlatBufferBuilder& builder) {
    const auto runs = EncodeRuns(builder, question);
    const auto label = builder.CreateString(options.label);
    return wire::CreateRetain(builder, question.placement.daemon_namespace, question.kind.group,
                              question.kind.shard, runs, label,
                              static_cast<std::uint32_t>(options.time.count()));
  });
}

std::vector<std::byte> EncodeReleaseRetained(const MessageHead& head, std::string_view label) {
  return BuildMessage<wire::ReleaseRetained>(head, [label](FlatBufferBuilder& builder) {
    const auto text = builder.CreateString(label.data(), label.size());
    return wire::CreateReleaseRetained(builder, text);
  });
}

std::vector<std::byte> EncodeRemovePrefix(const MessageHead& head, const BlockQuestion& question) {
  return BuildMessage<wire::RemovePrefix>(head, [&question](FlatBufferBuilder& builder) {
    const auto runs = EncodeRuns(builder, question);
    return wire::CreateRemovePrefix(builder, question.placement.daemon_namespace, runs);
  });
}

std::vector<std::byte> EncodeClearTenant(const MessageHead& head) {
  return BuildMessage<wire::ClearTenant>(head);
}

}  // namespace terrace

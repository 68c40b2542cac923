#include "transport/codec.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/limits.h"

namespace terrace {
namespace {

constexpr std::size_t kErrorTextBytesMax = 1024;

Status BadRun(std::size_t run, const std::string& what) {
  return Status::Invalid("runs[" + std::to_string(run) + "]" + what);
}

/// True when its entries, which hold numbers of 8 bytes, may be read where they lie.
template <typename Vector>
bool IsAligned(const Vector* vector) {
  return vector == nullptr || vector->size() == 0 ||
         reinterpret_cast<std::uintptr_t>(vector->Data()) % 8 == 0;
}

/// The verifier of flatbuffers looks at where a vector's length lies, not at its entries.
bool HasAlignedEntries(const wire::Message& message) {
  switch (message.body_type()) {
    case wire::Body_Get:
      return IsAligned(message.body_as_Get()->pieces()) &&
             IsAligned(message.body_as_Get()->ranges());
    case wire::Body_Put: return IsAligned(message.body_as_Put()->pieces());
    case wire::Body_WriteFragments:
      return IsAligned(message.body_as_WriteFragments()->pieces()) &&
             IsAligned(message.body_as_WriteFragments()->offsets());
    case wire::Body_BlocksReply: return IsAligned(message.body_as_BlocksReply()->loans());
    case wire::Body_BlockChecksums: return IsAligned(message.body_as_BlockChecksums()->checksums());
    default: return true;
  }
}

/// Splits the keys of `wire_run` into `run`.
Status ReadKeys(const wire::Run& wire_run, std::size_t index, KeyRun& run) {
  const std::span<const std::byte> lengths = BytesOf(wire_run.key_bytes());
  std::span<const std::byte> rest = BytesOf(wire_run.keys());
  run.keys.reserve(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const std::size_t length = std::to_integer<std::size_t>(lengths[i]);
    if (length == 0 || length > kKeyBytesMax) {
      return BadRun(index, ".keys[" + std::to_string(i) + "] has " + std::to_string(length) +
                               " bytes, not 1 to " + std::to_string(kKeyBytesMax));
    }
    if (length > rest.size()) {
      return BadRun(index, ".keys ends before keys[" + std::to_string(i) + "]");
    }
    run.keys.push_back(rest.first(length));
    rest = rest.subspan(length);
  }
  if (!rest.empty()) {
    return BadRun(index, ".keys has " + std::to_string(rest.size()) + " bytes too many");
  }
  return {};
}

/// Absent where they say nothing.
flatbuffers::Offset<wire::Hints> BuildHints(flatbuffers::FlatBufferBuilder& builder,
                                            const RequestHints* hints) {
  if (hints == nullptr || *hints == RequestHints{}) return 0;
  const auto text =
      [&builder](const std::string& name) -> flatbuffers::Offset<flatbuffers::String> {
    if (name.empty()) return 0;
    return builder.CreateString(name);
  };
  const auto session = text(hints->session);
  const auto category = text(hints->category);
  return wire::CreateHints(builder, session, hints->turn, category,
                           static_cast<std::uint8_t>(hints->continuation));
}

}  // namespace

namespace codec_internal {

std::vector<std::byte> FinishMessage(flatbuffers::FlatBufferBuilder& builder,
                                     const MessageHead& head, wire::Body type,
                                     flatbuffers::Offset<void> body) {
  const auto hints = BuildHints(builder, head.hints);
  wire::MessageBuilder message(builder);
  message.add_request_id(head.request_id);
  message.add_incarnation(head.incarnation);
  message.add_budget_us(head.budget_us);
  message.add_body_type(type);
  message.add_body(body);
  message.add_hints(hints);
  wire::FinishMessageBuffer(builder, message.Finish());
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

}  // namespace codec_internal

std::vector<std::byte> BuildError(const MessageHead& head, const Status& status) {
  const std::string_view text = std::string_view(status.message()).substr(0, kErrorTextBytesMax);
  return BuildMessage<wire::ErrorReply>(head, [&](flatbuffers::FlatBufferBuilder& builder) {
    const auto message = builder.CreateString(text.data(), text.size());
    return wire::CreateErrorReply(builder, static_cast<std::uint8_t>(status.code()), message);
  });
}

Status StatusOf(const wire::ErrorReply& reply) {
  std::string text(TextOf(reply.message()));
  if (reply.status() == 0 || reply.status() >= kStatusCodeCount) {
    return Status::Internal("ErrorReply with status " + std::to_string(reply.status()) + ": " +
                            text);
  }
  return {static_cast<StatusCode>(reply.status()), std::move(text)};
}

Result<const wire::Message*> VerifyMessage(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  if (bytes.size() < 16) {
    return Status::Invalid("message of " + std::to_string(bytes.size()) + " bytes is too short");
  }
  if (bytes.size() > kControlBytesMax) {
    return Status::Invalid("message of " + std::to_string(bytes.size()) + " bytes, at most " +
                           std::to_string(kControlBytesMax));
  }
  TERRACE_CHECK(reinterpret_cast<std::uintptr_t>(data) % 8 == 0);
  flatbuffers::Verifier verifier(data, bytes.size(), kControlDepthMax, kControlTablesMax);
  if (!wire::VerifyMessageBuffer(verifier)) {
    return Status::Invalid("message does not verify (not a TRR1 flatbuffer, or cut)");
  }
  const wire::Message* message = wire::GetMessage(data);
  if (message->body() == nullptr || message->body_type() == wire::Body_NONE) {
    return Status::Invalid("message without a body");
  }
  if (message->body_type() > wire::Body_MAX) {
    return Status(StatusCode::kUnsupported,
                  "message body " + std::to_string(message->body_type()) + " is not known");
  }
  if (!HasAlignedEntries(*message)) {
    return Status::Invalid("message whose " + std::string(BodyName(message->body_type())) +
                           " has entries of 8 bytes that are not aligned");
  }
  return message;
}

std::string_view BodyName(wire::Body type) noexcept {
  if (type > wire::Body_MAX) return "unknown";
  return wire::EnumNameBody(type);
}

flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> BuildBytes(
    flatbuffers::FlatBufferBuilder& builder, std::span<const std::byte> bytes) {
  return builder.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

flatbuffers::Offset<wire::Run> BuildRun(flatbuffers::FlatBufferBuilder& builder,
                                        const KeyRun& run) {
  std::size_t total = 0;
  for (const auto& key : run.keys) {
    TERRACE_CHECK(!key.empty() && key.size() <= kKeyBytesMax);
    total += key.size();
  }
  const auto placement = BuildBytes(builder, run.placement);
  const auto parent = BuildBytes(builder, run.parent);
  std::uint8_t* bytes = nullptr;
  const auto keys = builder.CreateUninitializedVector(total, 1, &bytes);
  for (const auto& key : run.keys) {
    std::memcpy(bytes, key.data(), key.size());
    bytes += key.size();
  }
  std::uint8_t* lengths = nullptr;
  const auto key_bytes = builder.CreateUninitializedVector(run.keys.size(), 1, &lengths);
  for (const auto& key : run.keys) *lengths++ = static_cast<std::uint8_t>(key.size());
  return wire::CreateRun(builder, placement, run.first_position, parent,
                         flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>(keys),
                         flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>>(key_bytes));
}

Result<std::vector<KeyRun>> ReadRuns(
    const flatbuffers::Vector<flatbuffers::Offset<wire::Run>>* runs, std::size_t keys_max) {
  std::vector<KeyRun> result;
  if (runs == nullptr) return result;
  std::size_t keys = 0;
  result.reserve(std::min<std::size_t>(runs->size(), keys_max));
  for (std::size_t i = 0; i < runs->size(); ++i) {
    const wire::Run& wire_run = *runs->Get(static_cast<flatbuffers::uoffset_t>(i));
    KeyRun run;
    run.placement = BytesOf(wire_run.placement());
    run.first_position = wire_run.first_position();
    run.parent = BytesOf(wire_run.parent());
    if (run.placement.empty() || run.placement.size() > kKeyBytesMax) {
      return BadRun(i, ".placement has " + std::to_string(run.placement.size()) +
                           " bytes, not 1 to " + std::to_string(kKeyBytesMax));
    }
    if (run.parent.size() > kKeyBytesMax) {
      return BadRun(i, ".parent has " + std::to_string(run.parent.size()) + " bytes, at most " +
                           std::to_string(kKeyBytesMax));
    }
    const std::size_t count = BytesOf(wire_run.key_bytes()).size();
    if (count == 0) return BadRun(i, " has no keys");
    keys += count;
    if (keys > keys_max) {
      return BadRun(i, " brings the request over " + std::to_string(keys_max) + " keys");
    }
    if (Status status = ReadKeys(wire_run, i, run); !status.ok()) return status;
    result.push_back(std::move(run));
  }
  return result;
}

}  // namespace terrace

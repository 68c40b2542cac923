// Codec: builds and verifies the control messages of protocol.fbs, and the runs of keys in them.
//
// Nothing that came from a peer is read before VerifyMessage said yes. Everything here is a pure
// function and may be called on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/request_hints.h"
#include "base/result.h"
#include "base/status.h"
#include "transport/protocol_generated.h"

namespace terrace {

/// Longest control message, bytes: 65,536 keys of 64 bytes with their pieces fit in it.
inline constexpr std::size_t kControlBytesMax = 8 << 20;
/// Longest control message of a peer that has not said Hello, bytes.
inline constexpr std::size_t kGreetingBytesMax = 64 << 10;
/// Most tables in one message: every key in a run of its own, and some.
inline constexpr std::uint32_t kControlTablesMax = 1 << 17;
/// Deepest nesting of tables in one message.
inline constexpr std::uint32_t kControlDepthMax = 16;

/// The fields of wire::Message that surround every body.
struct MessageHead {
  std::uint64_t request_id = 0;
  std::uint64_t incarnation = 0;
  std::uint32_t budget_us = 0;          ///< time left to the request's deadline
  const RequestHints* hints = nullptr;  ///< outlives the call that builds the message; null: none
};

namespace codec_internal {
std::vector<std::byte> FinishMessage(flatbuffers::FlatBufferBuilder& builder,
                                     const MessageHead& head, wire::Body type,
                                     flatbuffers::Offset<void> body);
}  // namespace codec_internal

/// A whole message with body type `BodyT`; `build(builder)` returns its Offset<BodyT>:
///   BuildMessage<wire::ForgetRegion>(
///       head, [&](auto& builder) { return wire::CreateForgetRegion(builder, 7); });
/// `bytes`: about how many it will have; not to grow several times.
template <typename BodyT, typename Build>
std::vector<std::byte> BuildMessage(const MessageHead& head, Build&& build,
                                    std::size_t bytes = 256) {
  flatbuffers::FlatBufferBuilder builder(bytes);
  const flatbuffers::Offset<BodyT> body = std::forward<Build>(build)(builder);
  return codec_internal::FinishMessage(builder, head, wire::BodyTraits<BodyT>::enum_value,
                                       body.Union());
}

/// A message whose body has no fields, or only defaults: Empty, Ping, Stat, ListNamespaces.
template <typename BodyT>
std::vector<std::byte> BuildMessage(const MessageHead& head) {
  return BuildMessage<BodyT>(head, [](flatbuffers::FlatBufferBuilder& builder) {
    return typename BodyT::Builder(builder).Finish();
  });
}

/// An ErrorReply that carries `status` (not ok) and its text, cut at 1,024 bytes.
std::vector<std::byte> BuildError(const MessageHead& head, const Status& status);
/// What an ErrorReply says; a code that this version does not know, or kOk, is kInternal.
Status StatusOf(const wire::ErrorReply& reply);

/// Checks identifier, bounds, nesting, and that there is a body of a known type. The result points
/// into `bytes`, which must be aligned to 8 (a std::vector<std::byte> is). kInvalid says what is
/// wrong.
Result<const wire::Message*> VerifyMessage(std::span<const std::byte> bytes);

/// Names of bodies for logs, e.g. "Get"; "unknown" for numbers out of range.
std::string_view BodyName(wire::Body type) noexcept;

/// One run of a request: consecutive keys of a chain with the key that places them.
struct KeyRun {
  std::span<const std::byte> placement;  ///< first key of the run that the keys belong to
  std::uint32_t first_position = 0;      ///< index of keys[0] in the chain
  std::span<const std::byte> parent;     ///< key before keys[0]; empty at the chain's start
  std::vector<std::span<const std::byte>> keys;
};

/// `keys` are 1 to kKeyBytesMax bytes each (checked: TERRACE_CHECK).
flatbuffers::Offset<wire::Run> BuildRun(flatbuffers::FlatBufferBuilder& builder, const KeyRun& run);

/// Reads the runs of a verified message; the views point into it. kInvalid, naming run and key,
/// for a key or placement of 0 or over kKeyBytesMax bytes, lengths that do not add up, an empty
/// run, or more than `keys_max` keys in all. An absent vector is an empty list.
Result<std::vector<KeyRun>> ReadRuns(
    const flatbuffers::Vector<flatbuffers::Offset<wire::Run>>* runs, std::size_t keys_max);

/// A flatbuffers byte vector as a span; empty when absent.
inline std::span<const std::byte> BytesOf(const flatbuffers::Vector<std::uint8_t>* bytes) noexcept {
  if (bytes == nullptr) return {};
  return std::as_bytes(std::span(bytes->data(), bytes->size()));
}
/// A flatbuffers string as a view; empty when absent.
inline std::string_view TextOf(const flatbuffers::String* text) noexcept {
  return text == nullptr ? std::string_view() : std::string_view(text->c_str(), text->size());
}
/// Appends `bytes` as a byte vector.
flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> BuildBytes(
    flatbuffers::FlatBufferBuilder& builder, std::span<const std::byte> bytes);

}  // namespace terrace

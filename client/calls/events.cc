// Client: reads of events and snapshots; cursors and identities; puts that bring token ids.
#include "client/events.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/block_identity.h"
#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/terrace.hpp"
#include "client/wire/encode_events.h"

namespace terrace {
namespace {

/// A cursor as bytes: magic, number of reactors, incarnation, and of each reactor its sequence, its
/// block, and 1 when it was walked; little-endian numbers of 8 bytes.
constexpr std::uint64_t kCursorMagic = 0x0031'5243'5645'5254;  // "TREVCR1"
constexpr std::size_t kReactorsMax = 1024;                     // a daemon has at most 64

void AppendNumber(std::vector<std::byte>& bytes, std::uint64_t number) {
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(number >> (8 * i)));
}

std::uint64_t NumberAt(std::span<const std::byte> bytes, std::size_t index) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    number |= std::to_integer<std::uint64_t>(bytes[8 * index + i]) << (8 * i);
  }
  return number;
}

/// The snapshot has begun: a daemon that is not the one it began with cannot go on with it.
bool HasBegun(const EventCursor& cursor) {
  return std::any_of(
      cursor.reactors.begin(), cursor.reactors.end(),
      [](const EventCursor::Place& place) { return place.from_block != 0 || place.walked; });
}

bool HasEnded(const EventCursor& cursor) {
  return std::all_of(cursor.reactors.begin(), cursor.reactors.end(),
                     [](const EventCursor::Place& place) { return place.walked; });
}

Status ValidateQuery(const EventQuery& query) {
  if (query.most == 0 || query.most > kEventsMax) {
    return Status::Invalid("query.most is " + std::to_string(query.most) + ", not 1 to " +
                           std::to_string(kEventsMax));
  }
  if (query.space.size() > kNameBytesMax) {
    return Status::Invalid("query.space has " + std::to_string(query.space.size()) +
                           " bytes, at most " + std::to_string(kNameBytesMax));
  }
  return {};
}

Result<EventBatch> BatchOf(const Status& status, const Result<RequestRef>& request) {
  return AnswerOf<EventBatch>(status, request,
                              [](Request& call) { return std::move(call.events); });
}

}  // namespace

BlockIdentity IdentityOf(BlockKind kind, std::span<const std::byte> key) {
  const auto used = key.first(std::min(key.size(), kKeyBytesMax));
  const Hash128 hash = HashLocator(HashBytes128, kind.group, kind.shard, used);
  return {.high = hash.high, .low = hash.low};
}

std::vector<std::byte> EventCursor::Serialize() const {
  std::vector<std::byte> bytes;
  bytes.reserve(8 * (3 + 3 * reactors.size()));
  AppendNumber(bytes, kCursorMagic);
  AppendNumber(bytes, reactors.size());
  AppendNumber(bytes, incarnation);
  for (const Place& place : reactors) {
    AppendNumber(bytes, place.sequence);
    AppendNumber(bytes, place.from_block);
    AppendNumber(bytes, place.walked ? 1 : 0);
  }
  return bytes;
}

Result<EventCursor> EventCursor::Parse(std::span<const std::byte> bytes) {
  const auto invalid = [&bytes](const std::string& why) {
    return Status::Invalid("a cursor of " + std::to_string(bytes.size()) + " bytes " + why);
  };
  if (bytes.size() < 24 || NumberAt(bytes, 0) != kCursorMagic) return invalid("is none");
  const std::uint64_t count = NumberAt(bytes, 1);
  if (count > kReactorsMax || bytes.size() != 8 * (3 + 3 * count)) {
    return invalid("is not one of " + std::to_string(count) + " reactors");
  }
  EventCursor cursor;
  cursor.incarnation = NumberAt(bytes, 2);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t walked = NumberAt(bytes, 5 + 3 * i);
    if (walked > 1) return invalid("has a flag that is neither 0 nor 1");
    cursor.reactors.push_back({.sequence = NumberAt(bytes, 3 + 3 * i),
                               .from_block = NumberAt(bytes, 4 + 3 * i),
                               .walked = walked == 1});
  }
  return cursor;
}

RequestRef RequestBuilder::ReadEvents(RequestKind kind, const EventCursor& cursor,
                                      const EventQuery& query) const {
  RequestRef request = Start(kind);
  request->events_most = query.most;
  EventBatch& batch = request->events;
  batch.cursor = cursor;
  EventCursor& own = batch.cursor;
  if (own.reactors.size() != session_.shards) {
    batch.restarted = own.incarnation != 0;
    own = {.incarnation = 0, .reactors = std::vector<EventCursor::Place>(session_.shards)};
  }
  if (kind == RequestKind::kReadSnapshot && HasEnded(own)) own.BeginSnapshot();
  constexpr Nanos kWaitMax = 3600 * kSecond;
  const Nanos wait = query.wait ? std::clamp<Nanos>(deadline_ - now_, 0, kWaitMax) : 0;
  const std::uint64_t begun = HasBegun(own) ? own.incarnation : 0;
  for (std::uint32_t shard = 0; shard < session_.shards; ++shard) {
    const EventCursor::Place& place = own.reactors[shard];
    if (kind == RequestKind::kReadSnapshot && place.walked) continue;
    AddPart(*request, shard, [&](const MessageHead& head) {
      return kind == RequestKind::kReadSnapshot
                 ? EncodeReadSnapshot(head, begun, place.from_block, query)
                 : EncodeReadEvents(head, own.incarnation, place.sequence, query,
                                    static_cast<std::uint32_t>(wait / kMillisecond));
    });
  }
  return request;
}

Result<RequestRef> Client::Impl::PrepareEvents(RequestKind kind, const EventCursor& cursor,
                                               const EventQuery& query, Deadline deadline) const {
  if (Status status = ValidateQuery(query); !status.ok()) return status;
  return PreparePlain(deadline, [&](const RequestBuilder& builder) {
    return builder.ReadEvents(kind, cursor, query);
  });
}

Result<EventBatch> Client::ReadEvents(const EventCursor& cursor, const EventQuery& query,
                                      Deadline deadline) {
  const auto request = impl_->PrepareEvents(RequestKind::kReadEvents, cursor, query, deadline);
  return BatchOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitReadEvents(const EventCursor& cursor, const EventQuery& query,
                                        Deadline deadline) {
  return impl_->Submit(impl_->PrepareEvents(RequestKind::kReadEvents, cursor, query, deadline));
}

Result<EventBatch> Client::ReadSnapshot(const EventCursor& cursor, const EventQuery& query,
                                        Deadline deadline) {
  const auto request = impl_->PrepareEvents(RequestKind::kReadSnapshot, cursor, query, deadline);
  return BatchOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitReadSnapshot(const EventCursor& cursor, const EventQuery& query,
                                          Deadline deadline) {
  return impl_->Submit(impl_->PrepareEvents(RequestKind::kReadSnapshot, cursor, query, deadline));
}

Result<std::vector<BlockResult>> Client::Put(NamespaceId space, const Chain& chain,
                                             std::span<const BlockBuffer> blocks, BlockKind kind,
                                             Deadline deadline, const PutOptions& options) {
  const auto request = impl_->PrepareTransfer(PutOf(options), space, chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitPut(NamespaceId space, const Chain& chain,
                                 std::span<const BlockBuffer> blocks, BlockKind kind,
                                 Deadline deadline, const PutOptions& options) {
  return impl_->Submit(
      impl_->PrepareTransfer(PutOf(options), space, chain, blocks, kind, deadline));
}

Result<std::vector<BlockResult>> Client::PutPieces(NamespaceId space, const Chain& chain,
                                                   std::span<const BlockPieces> blocks,
                                                   BlockKind kind, Deadline deadline,
                                                   const PutOptions& options) {
  const auto request = impl_->PreparePieces(PutOf(options), space, chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitPutPieces(NamespaceId space, const Chain& chain,
                                       std::span<const BlockPieces> blocks, BlockKind kind,
                                       Deadline deadline, const PutOptions& options) {
  return impl_->Submit(impl_->PreparePieces(PutOf(options), space, chain, blocks, kind, deadline));
}

}  // namespace terrace

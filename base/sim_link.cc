#include "base/sim_link.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"

namespace terrace {

namespace {

Status PeerDead() { return {StatusCode::kPeerDead, "the simulated peer is gone"}; }

using Places = std::vector<std::span<std::byte>>;

std::size_t BytesIn(const Places& places) {
  std::size_t bytes = 0;
  for (const std::span<std::byte> place : places) bytes += place.size();
  return bytes;
}

/// Byte `at` of all places together.
std::byte& ByteOf(const Places& places, std::size_t at) {
  std::size_t where = 0;
  while (at >= places[where].size()) at -= places[where++].size();
  return places[where][at];
}

/// Copies bytes [begin, end) of what lies in `from` to where they belong in `to`.
void CopySlice(const Places& from, const Places& to, std::size_t begin, std::size_t end) {
  std::size_t from_place = 0;
  std::size_t to_place = 0;
  std::size_t from_at = 0;  // of all bytes: where the current place begins
  std::size_t to_at = 0;
  while (begin < end) {
    while (begin >= from_at + from[from_place].size()) from_at += from[from_place++].size();
    while (begin >= to_at + to[to_place].size()) to_at += to[to_place++].size();
    const std::span<std::byte> source = from[from_place].subspan(begin - from_at);
    const std::span<std::byte> target = to[to_place].subspan(begin - to_at);
    const std::size_t length = std::min({end - begin, source.size(), target.size()});
    std::memcpy(target.data(), source.data(), length);
    begin += length;
  }
}

std::vector<std::byte> Gather(const Places& places) {
  std::vector<std::byte> bytes;
  for (const std::span<std::byte> place : places) {
    bytes.insert(bytes.end(), place.begin(), place.end());
  }
  return bytes;
}

}  // namespace

std::uint32_t SimMemory::Register(std::span<std::byte> bytes) {
  regions_.push_back(bytes);
  return static_cast<std::uint32_t>(regions_.size());
}

std::span<std::byte> SimMemory::Find(const Piece& piece) const noexcept {
  if (piece.region == 0 || piece.region > regions_.size()) return {};
  const std::span<std::byte> region = regions_[piece.region - 1];
  if (piece.offset > region.size() || piece.length > region.size() - piece.offset) return {};
  return region.subspan(piece.offset, piece.length);
}

SimLink::SimLink(Scheduler& scheduler, Random& random, const SimMemory& memory,
                 SimLinkFaults faults)
    : scheduler_(scheduler), random_(random), memory_(memory), faults_(faults) {}

SimLink::~SimLink() {
  TERRACE_CHECK(flights_.empty());
  while (!quarantine_.empty()) {
    scheduler_.CancelTimer(quarantine_.front().timer);
    quarantine_.pop_front();
  }
}

SimLink::Places SimLink::PlacesOf(const BlockTransfer& transfer, std::size_t block_bytes) const {
  Places places;
  std::size_t bytes = 0;
  for (const Piece& piece : transfer.pieces) {
    const std::span<std::byte> place = memory_.Find(piece);
    if (place.empty()) return {};
    bytes += place.size();
    places.push_back(place);
  }
  if (bytes != block_bytes) return {};
  return places;
}

SimLink::Fault SimLink::DrawFault() {
  // One draw, so that the probabilities add up and the sequence of draws does not depend on them.
  const double drawn = random_.Unit();
  if (drawn < faults_.stall) return Fault::kStall;
  if (drawn < faults_.stall + faults_.death) return Fault::kDeath;
  if (drawn < faults_.stall + faults_.death + faults_.corruption) return Fault::kCorruption;
  return Fault::kNone;
}

Task<Status> SimLink::WaitInFlight(Event& cut, Nanos time, Nanos deadline) {
  bool was_cut = co_await cut.WaitUntil(std::min(time, deadline));
  while (!was_cut && scheduler_.Now() < std::min(frozen_until_, deadline)) {
    was_cut = co_await cut.WaitUntil(std::min(frozen_until_, deadline));
  }
  if (was_cut) co_return PeerDead();
  if (scheduler_.Now() >= deadline) {
    co_return Status(StatusCode::kTimeout, "the deadline passed in flight");
  }
  co_return Status::Ok();
}

Task<Status> SimLink::Travel(const Places& frame, const Places& places, Direction direction,
                             Nanos deadline) {
  const std::size_t bytes = BytesIn(frame);
  const Fault fault = DrawFault();
  const Nanos start = scheduler_.Now();
  const Nanos latency =
      static_cast<Nanos>(random_.Between(static_cast<std::uint64_t>(faults_.latency_min),
                                         static_cast<std::uint64_t>(faults_.latency_max)));
  const std::uint64_t flipped_bit = random_.Below(bytes * 8);
  const Places& from = direction == Direction::kPush ? frame : places;
  const Places& to = direction == Direction::kPush ? places : frame;

  Event cut;
  const auto place = flights_.insert(flights_.end(), &cut);
  in_flight_most_ = std::max(in_flight_most_, flights_.size());
  Status status = co_await WaitInFlight(cut, start + latency / 2, deadline);
  if (status.ok()) {
    CopySlice(from, to, 0, bytes / 2);
    if (fault == Fault::kDeath) Close();
    deaths_ += fault == Fault::kDeath ? 1 : 0;
    stalls_ += fault == Fault::kStall ? 1 : 0;
    const Nanos arrival = fault == Fault::kStall ? kForever : start + latency;
    status = co_await WaitInFlight(cut, arrival, deadline);
  }
  if (status.ok()) {
    CopySlice(from, to, bytes / 2, bytes);
    if (fault == Fault::kCorruption) {
      ++corruptions_;
      ByteOf(to, flipped_bit / 8) ^= static_cast<std::byte>(1U << (flipped_bit % 8));
    }
  }
  flights_.erase(place);
  co_return status;
}

Task<void> SimLink::AwaitLastWord(Nanos deadline) {
  const Nanos word =
      static_cast<Nanos>(random_.Below(static_cast<std::uint64_t>(faults_.latency_min) + 1));
  co_await SleepUntil{std::min(scheduler_.Now() + word, deadline)};
}

Task<Status> SimLink::Push(Hold source, BlockTransfer transfer,
                           std::span<const std::uint64_t> checksums) {
  if (!alive_) co_return PeerDead();
  const RangeView view(source.bytes(), transfer.range);
  const Places places = PlacesOf(transfer, view.size());
  if (places.empty()) co_return Status::Invalid("a piece lies outside its region");
  std::vector<std::uint64_t> sums(checksums.begin(), checksums.end());
  if (!view.whole()) {
    if (Status sound = co_await ChecksumRange(view, checksums, &sums); !sound.ok()) {
      co_return sound;
    }
  }
  const Places frame = view.Stretches();
  Status status = co_await Travel(frame, places, Direction::kPush, transfer.deadline);
  if (!status.ok()) {
    Quarantine(std::move(source), Direction::kPush);
    co_return status;
  }
  // The frame is let go of as soon as the bytes have left it; the client verifies later.
  source = Hold();
  co_await AwaitLastWord(transfer.deadline);
  if (!VerifyBlock(Gather(places), sums)) {
    co_return Status(StatusCode::kCorrupt, "the client received other bytes than were sent");
  }
  co_return Status::Ok();
}

Task<Status> SimLink::Pull(Hold destination, BlockTransfer transfer,
                           std::span<std::uint64_t> checksums) {
  if (!alive_) co_return PeerDead();
  const Places places = PlacesOf(transfer, destination.bytes().size());
  if (places.empty()) co_return Status::Invalid("a piece lies outside its region");
  const Places frame{destination.bytes()};
  Status status = co_await Travel(frame, places, Direction::kPull, transfer.deadline);
  if (!status.ok()) {
    Quarantine(std::move(destination), Direction::kPull);
    co_return status;
  }
  std::vector<std::uint64_t> arrived(checksums.size());
  ChecksumBlock(destination.bytes(), arrived);
  destination = Hold();
  co_await AwaitLastWord(transfer.deadline);
  std::ranges::copy(arrived, checksums.begin());
  if (!VerifyBlock(Gather(places), checksums)) {
    co_return Status(StatusCode::kCorrupt, "other bytes arrived than the client sent");
  }
  co_return Status::Ok();
}

void SimLink::Quarantine(Hold hold, Direction direction) {
  const Nanos length =
      static_cast<Nanos>(random_.Below(static_cast<std::uint64_t>(faults_.quarantine_max) + 1));
  const std::uint64_t checksum = Checksum64(hold.bytes());
  const auto late = quarantine_.insert(
      quarantine_.end(),
      Late{.hold = std::move(hold), .direction = direction, .checksum = checksum, .timer = {}});
  late->timer =
      scheduler_.AddTimer(scheduler_.Now() + length, [this, late] { EndQuarantine(late); });
}

void SimLink::EndQuarantine(std::list<Late>::iterator late) {
  const std::span<std::byte> bytes = late->hold.bytes();
  if (late->direction == Direction::kPull) {
    // A stream of its own: noise as long as the frame, of one number.
    SeededRandom noise(random_.Next());
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(noise.Next());
  } else if (Checksum64(bytes) != late->checksum) {
    ++late_changes_;
  }
  quarantine_.erase(late);
}

Task<Status> SimLink::Carry(Nanos deadline) {
  if (!alive_) co_return PeerDead();
  if (faults_.message_drop > 0 && random_.Chance(faults_.message_drop)) {
    ++messages_dropped_;
    co_await SleepUntil{deadline};
    co_return Status(StatusCode::kTimeout, "a message was dropped");
  }
  const std::uint64_t number = ++messages_sent_;
  Nanos arrival = scheduler_.Now();
  if (faults_.message_delay_max > 0) {
    arrival +=
        static_cast<Nanos>(random_.Below(static_cast<std::uint64_t>(faults_.message_delay_max)));
  }
  arrival = std::max(arrival, frozen_until_);
  if (arrival > scheduler_.Now()) co_await SleepUntil{arrival};
  if (!alive_) co_return PeerDead();
  messages_reordered_ += number < newest_arrived_ ? 1 : 0;
  newest_arrived_ = std::max(newest_arrived_, number);
  co_return Status::Ok();
}

void SimLink::Send(std::vector<std::byte> message) {
  if (!alive_) return;
  if (messages_.size() >= kMessagesMax) messages_.erase(messages_.begin());
  messages_.push_back(std::move(message));
}

void SimLink::Close() {
  alive_ = false;
  for (Event* flight : flights_) flight->Set();
}

std::vector<std::vector<std::byte>> SimLink::TakeMessages() { return std::exchange(messages_, {}); }

}  // namespace terrace

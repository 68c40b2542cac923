#include "cache/lease_table.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/canary.h"
#include "base/check.h"
#include "base/counter.h"

namespace terrace {

namespace {

/// Between two turns that let blocks go: others run meanwhile.
constexpr Nanos kDrainPause = 100 * kMicrosecond;

bool BitOf(std::span<const std::byte> bits, std::uint32_t index) noexcept {
  return index / 8 < bits.size() && (bits[index / 8] & std::byte{1} << (index % 8)) != std::byte{};
}

}  // namespace

LeaseTable::~LeaseTable() {
  if (timer_) scheduler_->CancelTimer(*timer_);
}

LeaseNumber LeaseTable::Begin(LeaseHolder holder) {
  Holder& its = holders_[holder];
  if (its.leases.size() >= kLeasesPerHolderMax) {
    Count(counters_.refused);
    return 0;
  }
  const LeaseNumber number = ++last_number_;
  leases_[number].holder = holder;
  its.leases.insert(number);
  return number;
}

bool LeaseTable::Add(LeaseNumber number, BlockId id, std::uint32_t cell) {
  const auto found = leases_.find(number);
  if (found == leases_.end()) return false;
  Lease& lease = found->second;
  Holder& holder = holders_[lease.holder];
  const BlockEntry& entry = index_[id];
  TERRACE_CHECK(entry.state == BlockState::kPublished);
  if (holder.blocks >= kBlocksPerHolderMax || holder.bytes + entry.block_bytes > bytes_max_ / 2 ||
      bytes_ + entry.block_bytes > bytes_max_) {
    return false;
  }
  Block& block = lease.blocks.emplace_back();
  block.id = id;
  block.cell = cell;
  block.bytes = entry.block_bytes;
  if (entry.InDram()) {
    if (!CanaryIs(Canary::kLeaseWithoutPin)) block.pin = arena_.Pin(entry.frame);
  } else {
    Mark& mark = marks_[id];
    if (mark.leases++ == 0) mark.serial = ++last_mark_;
    block.mark = mark.serial;
  }
  ++holder.blocks;
  holder.bytes += entry.block_bytes;
  ++blocks_;
  bytes_ += entry.block_bytes;
  return true;
}

bool LeaseTable::Start(LeaseNumber number, Nanos until) {
  const auto found = leases_.find(number);
  if (found == leases_.end()) return false;
  Lease& lease = found->second;
  if (lease.blocks.empty()) {
    End(found, counters_.released);  // not counted: it has not started
    return false;
  }
  lease.started = true;
  lease.until = by_end_.emplace(until, number);
  Count(counters_.granted);
  Show();
  SetTimer();
  return true;
}

void LeaseTable::Refuse(LeaseNumber number) {
  const auto found = leases_.find(number);
  if (found != leases_.end()) End(found, counters_.refused);
}

Result<LeaseTable::Leases::iterator> LeaseTable::Find(LeaseHolder holder, LeaseNumber number) {
  const auto found = leases_.find(number);
  const bool ended = found == leases_.end() && number != 0 && number <= last_number_;
  if (ended) {
    return Status(StatusCode::kExpired, "lease: " + std::to_string(number) + " has ended");
  }
  if (found == leases_.end() || found->second.holder != holder || !found->second.started) {
    return Status::Invalid("lease: " + std::to_string(number) + " is none of this client's");
  }
  return found;
}

Status LeaseTable::Trim(LeaseHolder holder, LeaseNumber number, std::span<const std::byte> keep) {
  const auto found = Find(holder, number);
  if (!found.ok()) return found.status();
  std::vector<Block>& blocks = (*found)->second.blocks;
  const auto rest = std::partition(blocks.begin(), blocks.end(),
                                   [keep](const Block& block) { return BitOf(keep, block.cell); });
  if (rest == blocks.begin()) {
    End(*found, counters_.released);
    return {};
  }
  Ending ending{.holder = holder, .blocks = {}};
  ending.blocks.assign(std::move_iterator(rest), std::move_iterator(blocks.end()));
  blocks.erase(rest, blocks.end());
  if (!ending.blocks.empty()) ending_.push_back(std::move(ending));
  Drain();
  return {};
}

bool LeaseTable::Stands(const Block& block) const {
  if (block.mark == 0) return index_[block.id].state == BlockState::kPublished;
  const auto mark = marks_.find(block.id);
  return mark != marks_.end() && mark->second.serial == block.mark;
}

Status LeaseTable::Renew(LeaseHolder holder, LeaseNumber number, Nanos time) {
  const auto found = Find(holder, number);
  if (!found.ok()) return found.status();
  Lease& lease = (*found)->second;
  const auto gone =
      std::ranges::find_if(lease.blocks, [this](const Block& block) { return !Stands(block); });
  if (gone != lease.blocks.end()) {
    End(*found, counters_.broken);
    return {StatusCode::kExpired,
            "lease: " + std::to_string(number) + " has lost a block, and has ended"};
  }
  by_end_.erase(lease.until);
  lease.until = by_end_.emplace(scheduler_->Now() + time, number);
  SetTimer();
  return {};
}

Status LeaseTable::Release(LeaseHolder holder, LeaseNumber number) {
  const auto found = Find(holder, number);
  if (!found.ok()) return found.status();
  End(*found, counters_.released);
  return {};
}

void LeaseTable::EndHolder(LeaseHolder holder) {
  const auto found = holders_.find(holder);
  if (found == holders_.end()) return;
  const std::unordered_set<LeaseNumber> numbers = found->second.leases;
  for (const LeaseNumber number : numbers) End(leases_.find(number), counters_.expired);
}

void LeaseTable::EndAll() {
  while (!leases_.empty()) End(leases_.begin(), counters_.expired);
  while (!ending_.empty()) Drain();
}

void LeaseTable::End(Leases::iterator found, std::atomic<std::uint64_t>& counter) {
  Lease& lease = found->second;
  const LeaseHolder holder = lease.holder;
  if (lease.started) by_end_.erase(lease.until);
  if (lease.started || &counter == &counters_.refused) Count(counter);
  holders_[holder].leases.erase(found->first);
  if (!lease.blocks.empty()) {
    ending_.push_back({.holder = holder, .blocks = std::move(lease.blocks)});
  }
  leases_.erase(found);
  Drain();
  ForgetIfEmpty(holder);
}

void LeaseTable::LetGo(LeaseHolder holder, Block& block) {
  Holder& its = holders_[holder];
  --its.blocks;
  its.bytes -= block.bytes;
  --blocks_;
  bytes_ -= block.bytes;
  block.pin = Hold();
  if (block.mark == 0) return;
  const auto mark = marks_.find(block.id);
  if (mark == marks_.end() || mark->second.serial != block.mark) return;  // the block went
  if (--mark->second.leases == 0) marks_.erase(mark);
}

void LeaseTable::ForgetIfEmpty(LeaseHolder holder) {
  const auto found = holders_.find(holder);
  if (found == holders_.end() || found->second.blocks > 0) return;
  if (found->second.leases.empty()) holders_.erase(found);
}

void LeaseTable::Drain() {
  std::size_t left = kBlocksPerTurn;
  while (left > 0 && !ending_.empty()) {
    Ending& ending = ending_.front();
    for (; left > 0 && !ending.blocks.empty(); --left) {
      LetGo(ending.holder, ending.blocks.back());
      ending.blocks.pop_back();
    }
    if (!ending.blocks.empty()) break;
    const LeaseHolder holder = ending.holder;
    ending_.pop_front();
    ForgetIfEmpty(holder);
  }
  Show();
  SetTimer();
}

void LeaseTable::PinMarked(BlockId id) {
  const auto mark = marks_.find(id);
  if (mark == marks_.end() || mark->second.pin) return;
  mark->second.pin = arena_.Pin(index_[id].frame);
}

void LeaseTable::OnTimer() {
  const Nanos now = scheduler_->Now();
  // To end a lease is to move it to what is let go bit by bit.
  for (std::size_t ended = 0; ended < kBlocksPerTurn && !by_end_.empty(); ++ended) {
    if (by_end_.begin()->first > now) break;
    const auto found = leases_.find(by_end_.begin()->second);
    Lease& lease = found->second;
    const LeaseHolder holder = lease.holder;
    by_end_.erase(by_end_.begin());
    Count(counters_.expired);
    holders_[holder].leases.erase(found->first);
    ending_.push_back({.holder = holder, .blocks = std::move(lease.blocks)});
    leases_.erase(found);
  }
  Drain();
}

void LeaseTable::SetTimer() {
  Nanos at = by_end_.empty() ? kForever : by_end_.begin()->first;
  if (scheduler_ == nullptr) scheduler_ = &Scheduler::Current();
  // What is due waits for the next turn: this may be one already.
  const Nanos next_turn = scheduler_->Now() + kDrainPause;
  at = ending_.empty() ? std::max(at, next_turn) : next_turn;
  if (timer_ && timer_at_ <= at) return;  // it looks again then
  if (timer_) scheduler_->CancelTimer(*std::exchange(timer_, std::nullopt));
  if (at == kForever) return;
  timer_at_ = at;
  timer_ = scheduler_->AddTimer(at, [this] {
    timer_.reset();
    OnTimer();
  });
}

void LeaseTable::Show() noexcept {
  counters_.now.store(leases_.size(), std::memory_order_relaxed);
  counters_.blocks_now.store(blocks_, std::memory_order_relaxed);
  counters_.bytes_now.store(bytes_, std::memory_order_relaxed);
}

std::uint64_t LeaseTable::Pins() const noexcept {
  std::uint64_t pins = 0;
  const auto count = [&pins](const std::vector<Block>& blocks) {
    for (const Block& block : blocks) pins += block.pin ? 1 : 0;
  };
  for (const auto& [number, lease] : leases_) count(lease.blocks);
  for (const Ending& ending : ending_) count(ending.blocks);
  for (const auto& [id, mark] : marks_) pins += mark.pin ? 1 : 0;
  return pins;
}

Status LeaseTable::Validate() const {
  std::unordered_map<LeaseHolder, Holder> held;
  std::unordered_map<BlockId, std::uint32_t> marking;
  std::uint64_t started = 0;
  const auto count = [&](LeaseHolder holder, const std::vector<Block>& blocks) {
    for (const Block& block : blocks) {
      ++held[holder].blocks;
      held[holder].bytes += block.bytes;
      if (block.mark != 0 && Stands(block)) ++marking[block.id];
    }
  };
  for (const auto& [number, lease] : leases_) {
    held[lease.holder].leases.insert(number);
    started += lease.started ? 1 : 0;
    count(lease.holder, lease.blocks);
  }
  for (const Ending& ending : ending_) count(ending.holder, ending.blocks);
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
  for (const auto& [holder, its] : held) {
    const auto found = holders_.find(holder);
    if (found == holders_.end() || found->second.leases != its.leases ||
        found->second.blocks != its.blocks || found->second.bytes != its.bytes) {
      return Status::Internal("leases of holder " + std::to_string(holder) + " are miscounted");
    }
    blocks += its.blocks;
    bytes += its.bytes;
  }
  if (holders_.size() != held.size() || blocks != blocks_ || bytes != bytes_ ||
      by_end_.size() != started || marking.size() != marks_.size()) {
    return Status::Internal("leases are miscounted");
  }
  for (const auto& [id, mark] : marks_) {
    const BlockEntry& entry = index_[id];
    if (entry.state != BlockState::kPublished || mark.leases != marking[id] ||
        (mark.pin && !entry.InDram())) {
      return Status::Internal("block " + std::to_string(id) + " is marked wrongly");
    }
  }
  return {};
}

}  // namespace terrace

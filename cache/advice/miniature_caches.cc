#include "cache/advice/miniature_caches.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {

/// As in cache/evict.cc.
constexpr int kCandidatesMax = 64;
/// Of a segment at most this share is written again, as in cache/reclaim.cc.
constexpr std::uint64_t kReinsertShare = 4;
constexpr std::size_t kBlocksMin = 256;
/// At which the bytes of the policies are taken: what they need for a block, and beside them.
constexpr std::size_t kFewBlocks = 1 << 10;
constexpr std::size_t kManyBlocks = 1 << 13;
constexpr std::size_t kBlocksMax = 1 << 16;
/// Segments of a ring in miniature: so many that none is more than a small part of it.
constexpr std::uint32_t kSegmentsMin = 4;
constexpr std::uint32_t kSegmentsMax = 64;

}  // namespace

struct MiniatureCaches::Point {
  std::unique_ptr<EvictionPolicy> policy;
  std::uint64_t used = 0;  // bytes in DRAM, M2
  bool filled = false;
  struct Segment {
    std::vector<BlockId> blocks;
    std::uint64_t bytes = 0;
  };
  std::vector<Segment> ring;
  std::size_t current = 0;
  bool next_is_reclaimed = false;
  std::uint64_t dram_bytes = 0;  // at the present share
  std::uint64_t segment_bytes = 0;
};

std::unique_ptr<EvictionPolicy> MiniatureCaches::PolicyOf(std::size_t index,
                                                          const EvictionPolicy* first,
                                                          std::size_t blocks) const {
  const std::vector<CurvePoint>& points = options_.points;
  std::unique_ptr<EvictionPolicy> policy;
  if (first != nullptr && points[index].MemoryBytes() >= points[0].MemoryBytes()) {
    policy = first->Follower(blocks);
  } else {
    // The table has the blocks of the largest: a smaller one can hold its share of them.
    std::uint64_t largest = 1;
    for (const CurvePoint& point : points) largest = std::max(largest, point.MemoryBytes());
    const double held = static_cast<double>(blocks) *
                        static_cast<double>(points[index].MemoryBytes()) /
                        static_cast<double>(largest);
    policy = options_.policy->make(1)->Learner(
        blocks, std::max<std::size_t>(static_cast<std::size_t>(held), 1));
  }
  return policy != nullptr ? std::move(policy) : options_.policy->make(blocks);
}

std::size_t MiniatureCaches::PoliciesBytes(std::size_t blocks) const {
  std::unique_ptr<EvictionPolicy> first;
  std::size_t bytes = 0;
  for (std::size_t index = 0; index < options_.points.size(); ++index) {
    std::unique_ptr<EvictionPolicy> policy = PolicyOf(index, first.get(), blocks);
    bytes += policy->BytesPerBlock() * blocks + policy->FixedBytes();
    if (index == 0) first = std::move(policy);
  }
  return bytes;
}

MiniatureCaches::MiniatureCaches(Options options) : options_(std::move(options)) {
  const std::size_t count = options_.points.size();
  TERRACE_CHECK(count >= 1 && count <= kPointsMax && options_.policy != nullptr);
  std::size_t rings = 0;
  for (const CurvePoint& point : options_.points) rings += point.nvme_bytes > 0 ? 1 : 0;
  const std::size_t each = sizeof(Entry) + 2 * sizeof(BlockId) +
                           rings * 2 * sizeof(BlockId);  // a vector may be half empty
  const auto bytes_of = [&](std::size_t blocks) { return blocks * each + PoliciesBytes(blocks); };
  const std::size_t few = bytes_of(kFewBlocks);
  const std::size_t more = (bytes_of(kManyBlocks) - few) / (kManyBlocks - kFewBlocks);
  const std::size_t beside = few - std::min(few, more * kFewBlocks);
  std::size_t blocks = (options_.memory_bytes - std::min(options_.memory_bytes, beside)) / more;
  blocks = std::clamp(blocks, kBlocksMin, kBlocksMax);
  std::size_t bytes = bytes_of(blocks);
  while (blocks > kBlocksMin && bytes > options_.memory_bytes) {  // some of it grows in steps
    blocks = std::max(blocks - blocks / 16, kBlocksMin);
    bytes = bytes_of(blocks);
  }
  entries_.resize(blocks);
  buckets_.assign(std::bit_ceil(blocks), kNoBlock);
  for (std::size_t id = blocks; id-- > 0;) {
    entries_[id].next = free_;
    free_ = static_cast<BlockId>(id);
  }
  for (const CurvePoint& point : options_.points) {
    Point& made = points_.emplace_back();
    const std::size_t index = points_.size() - 1;
    made.policy = PolicyOf(index, index == 0 ? nullptr : points_.front().policy.get(), blocks);
    made.dram_bytes = point.MemoryBytes();
    if (point.nvme_bytes == 0) continue;
    const double segments = options_.nvme_segments * point.nvme_scale;
    made.ring.resize(std::clamp(static_cast<std::uint32_t>(segments), kSegmentsMin, kSegmentsMax));
    made.segment_bytes = point.nvme_bytes / made.ring.size();
  }
  bytes_ = bytes + sizeof(*this);
}

MiniatureCaches::~MiniatureCaches() = default;

std::uint64_t MiniatureCaches::DramBytes(std::size_t point) const noexcept {
  return points_[point].used;
}

bool MiniatureCaches::Filled(std::size_t point) const noexcept { return points_[point].filled; }

BlockId MiniatureCaches::Find(std::uint64_t identity) const noexcept {
  BlockId id = buckets_[BucketOf(identity)];
  while (id != kNoBlock && entries_[id].identity != identity) id = entries_[id].next;
  return id;
}

BlockId MiniatureCaches::Make(std::uint64_t identity, std::uint32_t namespace_id,
                              std::uint32_t bytes) {
  TERRACE_CHECK(free_ != kNoBlock);
  const BlockId id = free_;
  Entry& entry = entries_[id];
  free_ = entry.next;
  entry = {};
  entry.identity = identity;
  entry.namespace_id = namespace_id;
  entry.bytes = bytes;
  BlockId& bucket = buckets_[BucketOf(identity)];
  entry.next = std::exchange(bucket, id);
  ++used_;
  return id;
}

void MiniatureCaches::Unhash(BlockId id) {
  Entry& entry = entries_[id];
  BlockId* link = &buckets_[BucketOf(entry.identity)];
  while (*link != id) link = &entries_[*link].next;
  *link = entry.next;
  entry.identity = 0;
}

void MiniatureCaches::FreeIfGone(BlockId id) {
  Entry& entry = entries_[id];
  if (entry.dram != 0 || entry.record != 0) return;
  if (entry.identity != 0) Unhash(id);
  entry = {};
  entry.next = std::exchange(free_, id);
  --used_;
}

std::size_t MiniatureCaches::Run(std::span<Reference> chain, std::uint64_t before,
                                 const RequestFacts& facts, std::uint32_t namespace_id,
                                 std::uint32_t block_bytes) {
  // What the chain may need is free before it begins, so that no block of it goes under way.
  while (entries_.size() - used_ < chain.size() && shift_ < kShiftMax) {
    Halve();
    const auto out = std::remove_if(chain.begin(), chain.end(), [this](const Reference& one) {
      return !Samples(one.identity);
    });
    chain = chain.first(static_cast<std::size_t>(out - chain.begin()));
  }
  if (entries_.size() - used_ < chain.size()) return 0;
  ++request_;
  ids_.assign(chain.size(), kNoBlock);
  gone_.clear();
  for (std::size_t i = 0; i < chain.size(); ++i) {
    Reference& reference = chain[i];
    BlockId id = Find(reference.identity);
    const bool brings = reference.use == How::kRead || reference.use == How::kPut;
    if (id == kNoBlock && brings) id = Make(reference.identity, namespace_id, block_bytes);
    if (id == kNoBlock) continue;
    Entry& entry = entries_[id];
    if (entry.request == request_) continue;  // the same block once more
    entry.request = request_;
    ids_[i] = id;
    reference.dram = entry.dram;
    reference.nvme = entry.record & ~entry.dram;
    if (reference.use == How::kPut) continue;
    const PointMask had = entry.dram | entry.record;
    entry.got_twice |= entry.got_once & had;
    entry.got_once |= had;
  }
  const BlockId ancestor = before == 0 ? kNoBlock : Find(before);
  if (ancestor != kNoBlock) entries_[ancestor].request = request_;
  RequestFacts thinned = facts;
  thinned.thinned = static_cast<std::uint8_t>(shift_);
  // The first point last, for it teaches the others.
  for (std::size_t point = points_.size(); point-- > 0;) Use(point, chain, ancestor, thinned);
  for (const BlockId id : ids_) {
    if (id != kNoBlock) gone_.push_back(id);
  }
  std::ranges::sort(gone_);
  gone_.erase(std::ranges::unique(gone_).begin(), gone_.end());
  for (const BlockId id : gone_) FreeIfGone(id);
  return chain.size();
}

BlockId MiniatureCaches::InDram(std::size_t point, BlockId id) const noexcept {
  return id != kNoBlock && (entries_[id].dram >> point & 1) != 0 ? id : kNoBlock;
}

void MiniatureCaches::Use(std::size_t point, std::span<Reference> chain, BlockId before,
                          const RequestFacts& facts) {
  const PointMask bit = PointMask{1} << point;
  EvictionPolicy& policy = *points_[point].policy;
  // What a cache of that size lacks ends the get; what is behind it is used by the put that
  // follows.
  std::size_t next = 0;
  for (const bool got : {true, false}) {
    present_.clear();
    for (; next < chain.size(); ++next) {
      const bool there = ids_[next] != kNoBlock && (chain[next].dram & bit) != 0;
      if (there) present_.push_back(ids_[next]);
      const bool lacks = ((chain[next].dram | chain[next].nvme) & bit) == 0;
      if (got && lacks && chain[next].use == How::kRead) break;
    }
    policy.Touch(present_, facts);
  }
  bool full = false;
  bool extends = false;
  RequestFacts extended = facts;
  BlockId parent = before;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const BlockId id = ids_[i];
    if (id == kNoBlock) continue;
    const BlockId ancestor = std::exchange(parent, id);
    const Entry& entry = entries_[id];
    const Reference& one = chain[i];
    if ((entry.dram & bit) != 0 || one.use == How::kTouch) continue;
    NewBlock block{.block = id,
                   .parent = InDram(point, ancestor),
                   .identity = entry.identity,
                   .position = one.position,
                   .behind = static_cast<std::uint32_t>(chain.size() - 1 - i),
                   .partial = one.partial,
                   .got = one.use == How::kRead,
                   .request = facts};
    if ((entry.record & bit) != 0) {
      // On NVMe only: a get brings it to DRAM; without room it stays where it is.
      block.returns = true;
      if (one.use != How::kPut) (void)Insert(point, block);
      continue;
    }
    if (one.use == How::kAsked || full) continue;
    if (!extends) {
      identities_.clear();
      for (std::size_t j = i; j < chain.size(); ++j) identities_.push_back(chain[j].identity);
      extended = policy.Extend({.parent = block.parent,
                                .position = one.position,
                                .blocks = one.behind + 1,
                                .identities = identities_,
                                .request = facts});
    }
    extends = true;
    block.request = extended;
    full = !Insert(point, block);
    if (!full) Append(point, id);
  }
}

bool MiniatureCaches::Insert(std::size_t index, NewBlock block) {
  Point& point = points_[index];
  const PointMask bit = PointMask{1} << index;
  Entry& entry = entries_[block.block];
  if (entry.bytes > point.dram_bytes) return false;
  while (point.used + entry.bytes > point.dram_bytes) {
    if (!Evict(index)) return false;
  }
  block.parent = InDram(index, block.parent);  // it may have made room
  point.policy->Insert(block);
  entry.dram |= bit;
  point.used += entry.bytes;
  return true;
}

void MiniatureCaches::TakeFromDram(Point& point, PointMask bit, BlockId id) {
  entries_[id].dram &= ~bit;
  point.used -= entries_[id].bytes;
}

bool MiniatureCaches::Evict(std::size_t index) {
  Point& point = points_[index];
  const PointMask bit = PointMask{1} << index;
  point.filled = true;
  BlockId victim = point.policy->First();
  for (int looked = 0; looked < kCandidatesMax && victim != kNoBlock; ++looked) {
    const Entry& entry = entries_[victim];
    if (entry.request != request_ || (entry.record & bit) != 0) {
      point.policy->Evict(victim);
      TakeFromDram(point, bit, victim);
      gone_.push_back(victim);
      return true;
    }
    victim = point.policy->After(victim);
  }
  return false;
}

void MiniatureCaches::Append(std::size_t index, BlockId id) {
  Point& point = points_[index];
  if (point.ring.empty()) return;
  const PointMask bit = PointMask{1} << index;
  if (point.ring[point.current].bytes >= point.segment_bytes) {
    if (!point.next_is_reclaimed) Reclaim(point, bit);  // one block filled more than half
    point.current = (point.current + 1) % point.ring.size();
    point.next_is_reclaimed = false;
  }
  Write(point, bit, id);
  if (!point.next_is_reclaimed && 2 * point.ring[point.current].bytes > point.segment_bytes) {
    Reclaim(point, bit);
  }
}

void MiniatureCaches::Write(Point& point, PointMask bit, BlockId id) {
  Point::Segment& segment = point.ring[point.current];
  segment.blocks.push_back(id);
  segment.bytes += entries_[id].bytes;
  entries_[id].record |= bit;
  entries_[id].got_once &= ~bit;
  entries_[id].got_twice &= ~bit;
}

void MiniatureCaches::Reclaim(Point& point, PointMask bit) {
  point.next_is_reclaimed = true;
  Point::Segment& next = point.ring[(point.current + 1) % point.ring.size()];
  const std::vector<BlockId> blocks = std::exchange(next.blocks, {});
  next.bytes = 0;
  if (!blocks.empty()) point.filled = true;
  std::uint64_t budget = point.segment_bytes / kReinsertShare;
  for (const BlockId id : blocks) {
    Entry& entry = entries_[id];
    const bool room = point.ring[point.current].bytes < point.segment_bytes;
    if (entry.identity != 0 && (entry.got_twice & bit) != 0 && entry.bytes <= budget && room) {
      budget -= entry.bytes;
      Write(point, bit, id);
      continue;
    }
    entry.record &= ~bit;
    gone_.push_back(id);
  }
}

void MiniatureCaches::Remove(std::uint64_t identity) {
  if (const BlockId id = Find(identity); id != kNoBlock) Take(id);
}

void MiniatureCaches::Take(BlockId id) {
  for (std::size_t index = 0; index < points_.size(); ++index) {
    const PointMask bit = PointMask{1} << index;
    if ((entries_[id].dram & bit) == 0) continue;
    points_[index].policy->Remove(id);
    TakeFromDram(points_[index], bit, id);
  }
  // Rings may name it until they come round: its number is not another block's before.
  Unhash(id);
  FreeIfGone(id);
}

void MiniatureCaches::Clear(std::uint32_t namespace_id) {
  for (BlockId id = 0; id < entries_.size(); ++id) {
    const Entry& entry = entries_[id];
    if (entry.identity != 0 && entry.namespace_id == namespace_id) Take(id);
  }
}

void MiniatureCaches::SetSizes() {
  for (std::size_t index = 0; index < points_.size(); ++index) {
    Point& point = points_[index];
    point.dram_bytes = options_.points[index].MemoryBytes() >> shift_;
    if (point.ring.empty()) continue;
    point.segment_bytes = std::max<std::uint64_t>(
        (options_.points[index].nvme_bytes >> shift_) / point.ring.size(), 1);
  }
}

void MiniatureCaches::Double() {
  TERRACE_CHECK(shift_ > 0);
  --shift_;
  SetSizes();
}

void MiniatureCaches::Halve() {
  ++shift_;
  SetSizes();
  for (std::size_t index = 0; index < points_.size(); ++index) {
    Point& point = points_[index];
    const PointMask bit = PointMask{1} << index;
    for (Point::Segment& segment : point.ring) {
      segment.bytes = 0;
      std::erase_if(segment.blocks, [&](BlockId id) {
        Entry& entry = entries_[id];
        const bool stays = entry.identity != 0 && Samples(entry.identity);
        if (stays) segment.bytes += entry.bytes;
        if (!stays) entry.record &= ~bit;
        return !stays;
      });
    }
  }
  for (BlockId id = 0; id < entries_.size(); ++id) {
    Entry& entry = entries_[id];
    if (entry.identity == 0 && entry.bytes != 0) FreeIfGone(id);  // it was dead
    if (entry.identity != 0 && !Samples(entry.identity)) Take(id);
  }
}

Status MiniatureCaches::Validate() const {
  std::vector<std::uint64_t> bytes(points_.size());
  std::vector<std::uint64_t> blocks(points_.size());
  std::size_t used = 0;
  for (BlockId id = 0; id < entries_.size(); ++id) {
    const Entry& entry = entries_[id];
    if (entry.bytes == 0) continue;
    ++used;
    const std::string name = "miniature block " + std::to_string(id);
    if (entry.dram == 0 && entry.record == 0) return Status::Internal(name + " lies nowhere");
    if (entry.identity == 0 && entry.dram != 0) return Status::Internal(name + " is dead in DRAM");
    if (entry.identity != 0 && Find(entry.identity) != id) {
      return Status::Internal(name + " is not found");
    }
    for (std::size_t point = 0; point < points_.size(); ++point) {
      if ((entry.dram >> point & 1) == 0) continue;
      bytes[point] += entry.bytes;
      ++blocks[point];
    }
  }
  if (used != used_) {
    return Status::Internal("miniatures count " + std::to_string(used_) + " blocks, there are " +
                            std::to_string(used));
  }
  for (std::size_t point = 0; point < points_.size(); ++point) {
    std::uint64_t listed = 0;
    EvictionPolicy& policy = *points_[point].policy;
    for (BlockId id = policy.First(); id != kNoBlock; id = policy.After(id)) ++listed;
    if (listed != blocks[point] || bytes[point] != points_[point].used) {
      return Status::Internal("miniature " + std::to_string(point) + " has " +
                              std::to_string(blocks[point]) + " blocks, its policy " +
                              std::to_string(listed));
    }
  }
  return {};
}

}  // namespace terrace

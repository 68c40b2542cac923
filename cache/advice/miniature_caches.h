// MiniatureCaches: what a few caches of other sizes would hold, for the sampled blocks alone.
//
// Model. Each *point* is a small cache of the daemon's own policy: its DRAM and its NVMe have the
// bytes of the size that it stands for, times the share of blocks that are sampled (Waldspurger et
// al., "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017). The points
// share one table of blocks, in which a mask of bits says which of them has a block on which tier.
// The rules are the cache's (evict.cc, reclaim.cc), without bytes, pins, labels and admission;
// "DRAM" below is the larger one of DRAM and HBM, as copies in HBM are of what is used again in
// DRAM:
//   - DRAM evicts what the policy says, but no block of the request that needs the room, unless
//     NVMe has it; at most 64 candidates are looked at, and when one block finds no room, the later
//     ones of the request are refused too;
//   - NVMe is a ring of segments: what is put is appended; when the current segment is half full
//   the
//     next is reclaimed: what was got twice is appended again (a quarter of a segment at most), the
//     rest loses its record.
// A policy that learns does so in the first point, which stands for the daemon's own size, and once
// more in each that has less DRAM: what a small cache remembers, and for how long, is less and
// otherwise than a large one's, and it evicts by that. Larger points use what the first has
// learned.
//
// When the table is full, or more time is used than allowed, half of the blocks go: the share of
// the sampled ones is a power of two, and only shrinks.
//
//   M1. A block is in the table exactly while some point has it on some tier.
//   M2. Of point i, `used` is the sum of bytes of its blocks in DRAM.
//
// Memory is taken when it is made. Thread: the owning reactor's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "cache/policy/policies.h"

namespace terrace {

/// One size to be simulated. A tier of 0 bytes is not there.
struct CurvePoint {
  std::uint64_t dram_bytes = 0;
  std::uint64_t nvme_bytes = 0;
  std::uint64_t hbm_bytes = 0;
  double dram_scale = 1;  ///< of what the daemon has
  double nvme_scale = 1;
  double hbm_scale = 1;
  /// What holds blocks above NVMe. What is used again lies in both, so that the smaller one mostly
  /// repeats the other.
  [[nodiscard]] std::uint64_t MemoryBytes() const noexcept {
    return std::max(dram_bytes, hbm_bytes);
  }
};

/// One bit for each point.
using PointMask = std::uint32_t;

class MiniatureCaches {
 public:
  static constexpr std::size_t kPointsMax = 16;
  /// Sampled blocks' share is at least 2^-kShiftMax.
  static constexpr unsigned kShiftMax = 24;

  struct Options {
    std::vector<CurvePoint> points;   ///< 1 to kPointsMax
    std::uint32_t nvme_segments = 0;  ///< of the daemon's own NVMe tier, of its own size
    const PolicyKind* policy = nullptr;
    std::uint64_t memory_bytes = 0;  ///< to be used, about; at least room for 256 blocks is taken
  };

  explicit MiniatureCaches(Options options);
  ~MiniatureCaches();
  MiniatureCaches(const MiniatureCaches&) = delete;
  MiniatureCaches& operator=(const MiniatureCaches&) = delete;

  /// 1 of 2^shift() blocks is sampled.
  [[nodiscard]] unsigned shift() const noexcept { return shift_; }
  [[nodiscard]] bool Samples(std::uint64_t identity) const noexcept {
    return (identity >> (64 - kShiftMax) & ((std::uint64_t{1} << shift_) - 1)) == 0;
  }

  /// How a request uses a block.
  enum class How : std::uint8_t {
    kRead,   ///< it is there: read, and put where it is not
    kAsked,  ///< it is not there: only points that have it read it
    kPut,    ///< brought: put where it is not
    kTouch,  ///< made recent where it is
  };
  struct Reference {
    std::uint64_t identity = 0;  ///< well mixed, not 0
    How use = How::kRead;
    std::uint32_t position = 0;  ///< in its chain
    std::uint32_t behind = 0;    ///< blocks that the request names after it, sampled or not
    bool partial = false;        ///< put with fewer tokens than a block holds
    bool counts = false;         ///< for the caller alone
    PointMask dram = 0;          ///< out: points that had it in DRAM
    PointMask nvme = 0;          ///< out: points that had it on NVMe only
  };
  /// Blocks of one chain in one request, in prefix order; `before` is the identity of the nearest
  /// sampled block before the first, or 0. Fills in what each point had, then lets them change.
  /// How many of them are sampled still, and moved to the front: it may have to make room.
  std::size_t Run(std::span<Reference> chain, std::uint64_t before, const RequestFacts& facts,
                  std::uint32_t namespace_id, std::uint32_t block_bytes);
  /// The block went for a reason of its own.
  void Remove(std::uint64_t identity);
  void Clear(std::uint32_t namespace_id);
  /// Samples half as many blocks. A walk over the table.
  void Halve();
  /// Samples twice as many: the points fill again as they come. REQUIRES: shift() > 0.
  void Double();

  [[nodiscard]] std::span<const CurvePoint> points() const noexcept { return options_.points; }
  /// Blocks that the table has room for, and has.
  [[nodiscard]] std::size_t capacity() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t blocks() const noexcept { return used_; }
  /// Blocks of a point on any tier, sampled, and whether it has had to let one go.
  [[nodiscard]] std::uint64_t DramBytes(std::size_t point) const noexcept;
  [[nodiscard]] bool Filled(std::size_t point) const noexcept;
  [[nodiscard]] std::uint64_t Bytes() const noexcept { return bytes_; }
  /// M1, M2 and the policies against the masks; walks everything. For tests.
  [[nodiscard]] Status Validate() const;

 private:
  struct Entry {
    std::uint64_t identity = 0;  // 0: free, or no longer found
    std::uint32_t namespace_id = 0;
    std::uint32_t bytes = 0;
    PointMask dram = 0;
    PointMask record = 0;  // with dead blocks: whose ring names it still
    PointMask got_once = 0;
    PointMask got_twice = 0;
    std::uint32_t request = 0;  // the last one that used it
    BlockId next = kNoBlock;    // of its bucket, or of the free ones
  };
  struct Point;

  /// For point `index` of a table of so many blocks: one that learns by itself, or one that uses
  /// what `first` learns; `first` is null for the first point.
  [[nodiscard]] std::unique_ptr<EvictionPolicy> PolicyOf(std::size_t index,
                                                         const EvictionPolicy* first,
                                                         std::size_t blocks) const;
  /// Of all points, in a table of so many blocks.
  [[nodiscard]] std::size_t PoliciesBytes(std::size_t blocks) const;
  [[nodiscard]] std::size_t BucketOf(std::uint64_t identity) const noexcept {
    return identity & (buckets_.size() - 1);
  }
  [[nodiscard]] BlockId Find(std::uint64_t identity) const noexcept;
  BlockId Make(std::uint64_t identity, std::uint32_t namespace_id, std::uint32_t bytes);
  /// It is found no more.
  void Unhash(BlockId id);
  /// Out of every point's DRAM, and found no more.
  void Take(BlockId id);
  void FreeIfGone(BlockId id);
  void Use(std::size_t point, std::span<Reference> chain, BlockId before,
           const RequestFacts& facts);
  bool Insert(std::size_t point, NewBlock block);
  /// The block, if the point has it in DRAM; else kNoBlock.
  [[nodiscard]] BlockId InDram(std::size_t point, BlockId id) const noexcept;
  bool Evict(std::size_t point);
  void Append(std::size_t point, BlockId id);
  void Write(Point& point, PointMask bit, BlockId id);
  void Reclaim(Point& point, PointMask bit);
  void TakeFromDram(Point& point, PointMask bit, BlockId id);
  /// What the sample's share of each point's tiers is.
  void SetSizes();

  const Options options_;
  std::vector<Entry> entries_;
  std::vector<BlockId> buckets_;  // first of each, or kNoBlock; a power of two
  std::vector<Point> points_;
  std::vector<BlockId> ids_;               // of the chain under way, as its references
  std::vector<std::uint64_t> identities_;  // of the blocks that it brings
  std::vector<BlockId> present_;           // scratch
  std::vector<BlockId> gone_;              // of this request, to be looked at when it ends
  BlockId free_ = kNoBlock;
  std::size_t used_ = 0;
  std::uint32_t request_ = 0;
  unsigned shift_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace terrace

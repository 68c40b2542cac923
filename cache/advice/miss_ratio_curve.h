// MissRatioCurve: what share of the blocks that clients need this reactor's cache has, and would
// have with more or less DRAM, NVMe or HBM.
//
// Model. A *reference* is a block that a client needs: one that it gets, or one that it puts
// because it was not there. A get of what is not there and the put that follows are one reference.
// It is a *hit* of a cache when that has the block and all blocks of its chain before it, as far as
// they are asked for here: later ones are of no use. What the real cache has is counted exactly;
// what others would have, with miniature caches over a sample (miniature_caches.h). An answer for
// another size is what its miniature has, corrected by what the real cache has more, or less, than
// the miniature of the real size. Of that, the references by which the sample stands for too few,
// or too many, are in every size: they are of the blocks that are used most (Waldspurger et al.,
// "Efficient MRC Construction with SHARDS", FAST 2015, 4.1). What the miniature does otherwise than
// the cache shrinks with the hits of smaller sizes, and with the misses that a larger one has left.
//
// Figures are kept since the start, and in kSlices slices for the last hour. Sampled references are
// in kGroups groups by their blocks' hashes, whose spread says how sure an answer is.
//
// Cost: two readings of the clock per run of blocks, some 2 ns per block, and some 100 ns times the
// number of points per sampled block; as soon as the reactor has spent 0.3 % of a second
// here within one, half as many blocks are sampled, and twice as many again after a calm minute;
// after a longer one, up to an hour, each time that it then takes too much again. Thread: the
// owning reactor's, but Read, which any may call.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "cache/advice/miniature_caches.h"
#include "cache/locator.h"

namespace terrace {

/// How a request uses the blocks that the curve is shown.
enum class CurveUse : std::uint8_t { kGet, kPut, kTouch };

/// Of one time: since the start, or of the last hour. Numbers of blocks, but for the bytes.
struct CurveFigures {
  double seconds = 0;  ///< that it is over
  double references = 0;
  double reference_bytes = 0;
  double hits = 0;     ///< of the real cache
  double sampled = 0;  ///< of the references
  struct PointFigures {
    CurvePoint point;
    double hits = 0;       ///< on any tier; estimated
    double dram_hits = 0;  ///< in DRAM, or HBM
    double variance = 0;   ///< of `hits`, by the sample
    bool filled = false;   ///< its miniature has had to let something go since the start
  };
  std::vector<PointFigures> points;
};

class MissRatioCurve {
 public:
  static constexpr std::uint64_t kBytesMin = 4 << 20;
  static constexpr std::uint64_t kBytesMax = 16 << 20;
  static constexpr std::size_t kSlices = 12;
  static constexpr Nanos kSlice = 300 * kSecond;
  static constexpr std::size_t kGroups = 16;

  struct Options {
    std::uint64_t dram_bytes = 0;
    std::uint64_t nvme_bytes = 0;  ///< 0: no such tier
    std::uint64_t hbm_bytes = 0;   ///< 0: likewise
    std::uint32_t nvme_segments = 0;
    const PolicyKind* policy = nullptr;
    std::uint64_t memory_bytes = 0;  ///< about; BytesFor(dram_bytes)
  };

  /// Memory for an arena of `arena_bytes`: 0.04 % of it, within the limits above.
  [[nodiscard]] static std::uint64_t BytesFor(std::uint64_t arena_bytes) noexcept;
  /// The sizes that are simulated: the real one first, then DRAM at other scales, then NVMe and
  /// HBM.
  [[nodiscard]] static std::vector<CurvePoint> PointsFor(std::uint64_t dram_bytes,
                                                         std::uint64_t nvme_bytes,
                                                         std::uint64_t hbm_bytes = 0);
  /// `clock` outlives it.
  MissRatioCurve(const Options& options, const Clock& clock);
  ~MissRatioCurve();

  /// A run of blocks that one request names, in prefix order: Begin, Add for each, End. `parent` is
  /// the hash of the block before the first, if there is one.
  void Begin(CurveUse use, std::uint32_t namespace_id, std::uint64_t block_bytes,
             const std::optional<Hash128>& parent, const RequestFacts& facts = {});
  /// `there`: the cache has the block, or it is being put. `behind`: blocks that the request names
  /// after it. `partial`: it is being put with fewer tokens than a block holds.
  void Add(const Hash128& hash, bool there, std::uint32_t position, std::uint32_t behind,
           bool partial = false);
  void End();

  /// The block went otherwise than for room.
  void Forget(const Locator& locator) { caches_.Remove(IdentityOf(locator)); }
  void Clear(std::uint32_t namespace_id) { caches_.Clear(namespace_id); }

  /// Since the start, or of the last hour.
  [[nodiscard]] CurveFigures Read(bool last_hour) const;
  /// CPU time spent here, ns. Any thread.
  [[nodiscard]] std::uint64_t SpentNanos() const noexcept {
    return spent_.load(std::memory_order_relaxed);
  }
  /// 1 of 2^so many blocks is sampled. Any thread.
  [[nodiscard]] unsigned Shift() const noexcept { return shift_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t Bytes() const noexcept;
  [[nodiscard]] Status Validate() const { return caches_.Validate(); }

 private:
  using Number = std::atomic<std::uint64_t>;  // one writer
  /// Counted over some time.
  struct Tally {
    Number began{0};  // ns; a slice that began longer ago than an hour counts no more
    Number references{0}, reference_bytes{0}, hits{0}, sampled{0};
    Number stands_for{0};  // references that the sampled ones are, by the share of each
    struct Group {
      Number hits{0}, dram_hits{0};
    };
    std::array<std::array<Group, kGroups>, MiniatureCaches::kPointsMax> points;  // weighted
  };
  /// How far a chain went that a later request goes on with.
  struct Trail {
    std::uint64_t last = 0;      // identity of the block; 0: none
    std::uint64_t ancestor = 0;  // of the nearest sampled block up to it; 0: none
    PointMask broken = 0;        // points that lacked a block of it
    bool real_broken = false;
  };

  [[nodiscard]] static std::uint64_t IdentityOf(const Locator& locator) noexcept;
  [[nodiscard]] const Trail* TrailOf(std::uint64_t last) const noexcept;
  void CountSampled(std::size_t count);
  void Count(Number Tally::* number, std::uint64_t by) noexcept;
  Tally& Slice(Nanos now) noexcept;
  void KeepToBudget(Nanos began, Nanos ended);

  const Clock& clock_;
  MiniatureCaches caches_;
  const Nanos started_;
  std::unique_ptr<Tally> total_;
  std::unique_ptr<std::array<Tally, kSlices>> slices_;
  std::size_t slice_ = 0;
  std::vector<Trail> trails_;         // by identity
  std::vector<std::uint32_t> asked_;  // by identity: got in vain, and not put since

  // Of the run under way:
  CurveUse use_ = CurveUse::kGet;
  std::uint32_t namespace_id_ = 0;
  std::uint64_t block_bytes_ = 0;
  RequestFacts facts_;
  Nanos began_ = 0;
  Trail at_;
  std::uint64_t before_ = 0;  // nearest sampled block before the run
  bool previous_there_ = false;
  std::uint64_t references_ = 0;  // of the run
  std::uint64_t hits_ = 0;
  std::vector<MiniatureCaches::Reference> sampled_;

  Number spent_{0};
  std::atomic<unsigned> shift_{0};
  std::atomic<PointMask> filled_{0};
  Nanos budget_began_ = 0;
  Nanos budget_spent_ = 0;
  unsigned halved_for_time_ = 0;    // of the shift
  bool grown_ = false;              // since it was halved for time last
  std::uint32_t calm_ = 0;          // budget times in a row that took a quarter of it at most
  std::uint32_t calm_wanted_ = 60;  // before the sample grows again; more each time it was too soon
};

}  // namespace terrace

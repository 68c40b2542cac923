#include "cache/advice/miss_ratio_curve.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "base/counter.h"

namespace terrace {

namespace {

constexpr std::uint64_t kArenaShare = 2500;
/// Of what the daemon has; 1 is a point of its own.
constexpr double kDramScales[] = {0.25, 0.5, 0.75, 1.5, 2, 4};
constexpr double kNvmeScales[] = {0, 0.25, 0.5, 2, 4};
constexpr double kHbmScales[] = {0, 0.5, 2, 4};
static_assert(1 + std::size(kDramScales) + std::size(kNvmeScales) + std::size(kHbmScales) <=
              MiniatureCaches::kPointsMax);
constexpr std::size_t kTrails = 1024;
constexpr std::size_t kAsked = 4096;
/// Of the reactor's time, parts of 1000, over kBudgetTime.
constexpr Nanos kBudgetShare = 3;
constexpr Nanos kBudgetTime = kSecond;
/// Calm is who takes so many times less; budget times before a sample grows again, at most.
constexpr Nanos kCalmPart = 4;
constexpr std::uint32_t kCalmMost = 3600;

std::uint64_t Scaled(std::uint64_t bytes, double scale) {
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * scale);
}

std::uint32_t TagOf(std::uint64_t identity) noexcept {
  return static_cast<std::uint32_t>(identity >> 16) | 1U;
}

/// Of the sum of numbers that are independent and of one distribution.
double VarianceOfSum(std::span<const double> numbers) {
  const auto count = static_cast<double>(numbers.size());
  double mean = 0;
  for (const double one : numbers) mean += one / count;
  double squares = 0;
  for (const double one : numbers) squares += (one - mean) * (one - mean);
  return squares * count / (count - 1);
}

/// As the header says. `unseen`: references that there were beyond those that the sample stands
/// for.
void Correct(CurveFigures& figures, double unseen) {
  if (figures.points.empty()) return;
  const double own = figures.points.front().hits;
  const double bias = figures.hits - own;
  const double by_chance = std::clamp(unseen, std::min(bias, 0.0), std::max(bias, 0.0));
  double most = own;
  for (const CurveFigures::PointFigures& point : figures.points) most = std::max(most, point.hits);
  for (CurveFigures::PointFigures& point : figures.points) {
    double like_own = 1;
    if (point.hits > own) like_own = (most - point.hits) / (most - own);
    if (point.hits < own) like_own = point.hits / own;
    const double correction = by_chance + (bias - by_chance) * like_own;
    point.hits = std::clamp(point.hits + correction, 0.0, figures.references);
  }
}

}  // namespace

std::uint64_t MissRatioCurve::BytesFor(std::uint64_t arena_bytes) noexcept {
  return std::clamp(arena_bytes / kArenaShare, kBytesMin, kBytesMax);
}

std::vector<CurvePoint> MissRatioCurve::PointsFor(std::uint64_t dram_bytes,
                                                  std::uint64_t nvme_bytes,
                                                  std::uint64_t hbm_bytes) {
  const CurvePoint own{.dram_bytes = dram_bytes, .nvme_bytes = nvme_bytes, .hbm_bytes = hbm_bytes};
  std::vector<CurvePoint> points = {own};
  const auto add = [&](std::uint64_t CurvePoint::* bytes, double CurvePoint::* scale_of,
                       std::span<const double> scales) {
    if (own.*bytes == 0) return;
    for (const double scale : scales) {
      CurvePoint& point = points.emplace_back(own);
      point.*bytes = Scaled(own.*bytes, scale);
      point.*scale_of = scale;
    }
  };
  add(&CurvePoint::dram_bytes, &CurvePoint::dram_scale, kDramScales);
  add(&CurvePoint::nvme_bytes, &CurvePoint::nvme_scale, kNvmeScales);
  add(&CurvePoint::hbm_bytes, &CurvePoint::hbm_scale, kHbmScales);
  return points;
}

MissRatioCurve::MissRatioCurve(const Options& options, const Clock& clock)
    : clock_(clock),
      caches_({.points = PointsFor(options.dram_bytes, options.nvme_bytes, options.hbm_bytes),
               .nvme_segments = options.nvme_segments,
               .policy = options.policy,
               .memory_bytes = options.memory_bytes}),
      started_(clock.Now()),
      total_(std::make_unique<Tally>()),
      slices_(std::make_unique<std::array<Tally, kSlices>>()),
      trails_(kTrails),
      asked_(kAsked),
      budget_began_(started_) {
  total_->began.store(static_cast<std::uint64_t>(started_));
  slices_->front().began.store(static_cast<std::uint64_t>(started_));
}

MissRatioCurve::~MissRatioCurve() = default;

std::uint64_t MissRatioCurve::Bytes() const noexcept {
  return caches_.Bytes() + sizeof(*this) + sizeof(Tally) * (kSlices + 1) +
         trails_.size() * sizeof(Trail) + asked_.size() * sizeof(std::uint32_t);
}

std::uint64_t MissRatioCurve::IdentityOf(const Locator& locator) noexcept {
  // The hash is mixed well already; two namespaces must not meet in one block.
  std::uint64_t identity = locator.hash.high ^ (locator.namespace_id * 0x9e3779b97f4a7c15ULL);
  identity ^= identity >> 32;
  identity *= 0xd6e8feb86659fd93ULL;
  identity ^= identity >> 32;
  return identity == 0 ? 1 : identity;
}

const MissRatioCurve::Trail* MissRatioCurve::TrailOf(std::uint64_t last) const noexcept {
  const Trail& trail = trails_[last % kTrails];
  return trail.last == last ? &trail : nullptr;
}

void MissRatioCurve::Begin(CurveUse use, std::uint32_t namespace_id, std::uint64_t block_bytes,
                           const std::optional<Hash128>& parent, const RequestFacts& facts) {
  facts_ = facts;
  began_ = clock_.Now();
  use_ = use;
  namespace_id_ = namespace_id;
  block_bytes_ = block_bytes;
  at_ = {};
  references_ = hits_ = 0;
  sampled_.clear();
  previous_there_ = false;
  if (parent.has_value()) {
    at_.last = IdentityOf({.namespace_id = namespace_id, .hash = *parent});
    if (const Trail* trail = TrailOf(at_.last); trail != nullptr) at_ = *trail;
  }
  before_ = at_.ancestor;
}

void MissRatioCurve::Add(const Hash128& hash, bool there, std::uint32_t position,
                         std::uint32_t behind, bool partial) {
  const std::uint64_t identity = IdentityOf({.namespace_id = namespace_id_, .hash = hash});
  bool counts = use_ == CurveUse::kGet;
  auto how = MiniatureCaches::How::kRead;
  if (use_ == CurveUse::kGet && !there) {
    asked_[identity % kAsked] = TagOf(identity);
    how = MiniatureCaches::How::kAsked;
  } else if (use_ == CurveUse::kPut) {
    how = MiniatureCaches::How::kPut;
    // What was got just before, and is named once more, tells which points lack a block of it.
    if (!there && previous_there_ && !at_.real_broken) {
      if (const Trail* trail = TrailOf(at_.last); trail != nullptr) at_.broken |= trail->broken;
    }
    counts = !there || at_.real_broken;
    std::uint32_t& asked = asked_[identity % kAsked];
    if (asked == TagOf(identity)) {
      counts = false;  // counted by the get
      asked = 0;
    }
  } else if (use_ == CurveUse::kTouch) {
    how = MiniatureCaches::How::kTouch;
  }
  if (!there) at_.real_broken = true;
  previous_there_ = there;
  at_.last = identity;
  if (counts) ++references_;
  if (counts && !at_.real_broken) ++hits_;
  if (!caches_.Samples(identity)) return;
  at_.ancestor = identity;
  sampled_.push_back({.identity = identity,
                      .use = how,
                      .position = position,
                      .behind = behind,
                      .partial = partial,
                      .counts = counts});
}

void MissRatioCurve::Count(Number Tally::* number, std::uint64_t by) noexcept {
  terrace::Count((*total_).*number, by);
  terrace::Count((*slices_)[slice_].*number, by);
}

MissRatioCurve::Tally& MissRatioCurve::Slice(Nanos now) noexcept {
  const auto began = static_cast<Nanos>((*slices_)[slice_].began.load(std::memory_order_relaxed));
  if (now - began < kSlice) return (*slices_)[slice_];
  slice_ = (slice_ + 1) % kSlices;
  Tally& slice = (*slices_)[slice_];
  const auto clear = [](Number& number) { number.store(0, std::memory_order_relaxed); };
  for (Number* number : {&slice.references, &slice.reference_bytes, &slice.hits, &slice.sampled,
                         &slice.stands_for}) {
    clear(*number);
  }
  for (auto& point : slice.points) {
    for (Tally::Group& group : point) {
      clear(group.hits);
      clear(group.dram_hits);
    }
  }
  slice.began.store(static_cast<std::uint64_t>(now), std::memory_order_relaxed);
  return slice;
}

void MissRatioCurve::CountSampled(std::size_t count) {
  Tally& slice = (*slices_)[slice_];
  const std::uint64_t weight = std::uint64_t{1} << caches_.shift();
  std::uint64_t sampled = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const MiniatureCaches::Reference& one = sampled_[i];
    const PointMask unbroken = ~at_.broken;
    if (one.counts) {
      ++sampled;
      const std::size_t group = one.identity % kGroups;
      for (std::size_t point = 0; point < caches_.points().size(); ++point) {
        if ((((one.dram | one.nvme) & unbroken) >> point & 1) != 0) {
          const bool dram = (one.dram >> point & 1) != 0;
          for (Tally* tally : {total_.get(), &slice}) {
            terrace::Count(tally->points[point][group].hits, weight);
            if (dram) terrace::Count(tally->points[point][group].dram_hits, weight);
          }
        }
      }
    }
    at_.broken |= ~(one.dram | one.nvme);
  }
  Count(&Tally::sampled, sampled);
  Count(&Tally::stands_for, sampled * weight);
}

void MissRatioCurve::End() {
  (void)Slice(began_);
  if (!sampled_.empty()) {
    const std::size_t count = caches_.Run(sampled_, before_, facts_, namespace_id_,
                                          static_cast<std::uint32_t>(block_bytes_));
    if (use_ != CurveUse::kTouch) CountSampled(count);
    PointMask filled = 0;
    for (std::size_t point = 0; point < caches_.points().size(); ++point) {
      if (caches_.Filled(point)) filled |= PointMask{1} << point;
    }
    filled_.store(filled, std::memory_order_relaxed);
  }
  Count(&Tally::references, references_);
  Count(&Tally::reference_bytes, references_ * block_bytes_);
  Count(&Tally::hits, hits_);
  if (use_ != CurveUse::kTouch && at_.last != 0) trails_[at_.last % kTrails] = at_;
  KeepToBudget(began_, clock_.Now());
}

void MissRatioCurve::KeepToBudget(Nanos began, Nanos ended) {
  terrace::Count(spent_, static_cast<std::uint64_t>(ended - began));
  budget_spent_ += ended - began;
  const Nanos elapsed = std::max<Nanos>(ended - budget_began_, 1);
  // Who has used up a second's share is over it, however the second goes on: to wait for its end
  // would cost many times the share while the sample is far too large.
  const bool over = budget_spent_ * 1000 >= kBudgetShare * std::max(elapsed, kBudgetTime);
  if (over && caches_.shift() < MiniatureCaches::kShiftMax) {
    caches_.Halve();
    ++halved_for_time_;
    if (grown_) calm_wanted_ = std::min(2 * calm_wanted_, kCalmMost);
    grown_ = false;
  }
  if (over || elapsed >= kBudgetTime) {
    calm_ = budget_spent_ * 1000 * kCalmPart <= kBudgetShare * elapsed ? calm_ + 1 : 0;
    // Its blocks must have room then.
    const bool room = caches_.blocks() * 5 <= caches_.capacity() * 2;
    if (halved_for_time_ > 0 && calm_ >= calm_wanted_ && caches_.shift() > 0 && room) {
      caches_.Double();
      --halved_for_time_;
      grown_ = true;
      calm_ = 0;
    }
    budget_began_ = ended;
    budget_spent_ = 0;
  }
  shift_.store(caches_.shift(), std::memory_order_relaxed);
}

CurveFigures MissRatioCurve::Read(bool last_hour) const {
  const auto get = [](const Number& number) {
    return static_cast<double>(number.load(std::memory_order_relaxed));
  };
  const Nanos now = clock_.Now();
  std::vector<const Tally*> tallies;
  Nanos first = now;
  const auto take = [&](const Tally& tally) {
    const auto began = static_cast<Nanos>(tally.began.load(std::memory_order_relaxed));
    if (began == 0 || (last_hour && now - began > static_cast<Nanos>(kSlices) * kSlice)) return;
    tallies.push_back(&tally);
    first = std::min(first, began);
  };
  if (last_hour) {
    for (const Tally& slice : *slices_) take(slice);
  } else {
    take(*total_);
  }
  double stands_for = 0;
  CurveFigures figures;
  figures.seconds = static_cast<double>(now - first) * 1e-9;
  for (const Tally* tally : tallies) {
    figures.references += get(tally->references);
    figures.reference_bytes += get(tally->reference_bytes);
    figures.hits += get(tally->hits);
    figures.sampled += get(tally->sampled);
    stands_for += get(tally->stands_for);
  }
  const double unsampled = 1 - 1 / static_cast<double>(std::uint64_t{1} << Shift());
  std::array<double, kGroups> real{};
  for (std::size_t point = 0; point < caches_.points().size(); ++point) {
    std::array<double, kGroups> differs{};
    CurveFigures::PointFigures& made = figures.points.emplace_back();
    made.point = caches_.points()[point];
    made.filled = (filled_.load(std::memory_order_relaxed) >> point & 1) != 0;
    for (std::size_t group = 0; group < kGroups; ++group) {
      double hits = 0;
      for (const Tally* tally : tallies) {
        hits += get(tally->points[point][group].hits);
        made.dram_hits += get(tally->points[point][group].dram_hits);
      }
      if (point == 0) real[group] = hits;
      made.hits += hits;
      differs[group] = hits - real[group];
    }
    made.variance = unsampled * VarianceOfSum(differs);
  }
  Correct(figures, figures.references - stands_for);
  return figures;
}

}  // namespace terrace

#include "base/transfer_meter.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/check.h"

namespace terrace {

namespace {

// A sample of a stretch that goes on: so long, and so many operations, that the ends count little.
constexpr Nanos kSampleTime = 50 * kMillisecond;
constexpr std::uint32_t kSampleOperations = 8;

constexpr double kGainLeast = 0.25;
constexpr double kFirstChangeMax = 64;  // of the first sample, as a factor
constexpr double kChangeMax = 4;        // of a later one, before the gain
constexpr double kSurprise = 2;         // a factor by which a sample differs
constexpr int kSurprisesMax = 2;        // each doubles the gain

constexpr double kLatencyMin = 1e-6;
constexpr double kLatencyMax = 10;
constexpr double kBandwidthMin = 1e3;
constexpr double kBandwidthMax = 1e12;

constexpr double kDriftHalfLife = 600e9;  // ns

/// Towards 1 / (weight + 1) at first: the mean of all samples so far.
double GainOf(double weight) { return std::max(kGainLeast, 1 / (1 + weight)); }

double Between(double from, double to, double share) {
  return std::exp(std::log(from) * (1 - share) + std::log(to) * share);
}

}  // namespace

void TransferMeter::Begin(Nanos now) {
  if (under_way_++ == 0) Restart(now, true);
}

void TransferMeter::Restart(Nanos now, bool from_idle) {
  begun_ = now;
  bytes_ = 0;
  ended_ = 0;
  from_idle_ = from_idle;
  spoiled_ = false;
}

void TransferMeter::End(Nanos now, std::uint64_t bytes) {
  TERRACE_CHECK(under_way_ > 0);
  --under_way_;
  bytes_ += bytes;
  ++ended_;
  spoiled_ = spoiled_ || bytes == 0;
  const bool enough = now - begun_ >= kSampleTime && ended_ >= kSampleOperations;
  if (under_way_ > 0 && !enough) return;
  if (!spoiled_) Learn(static_cast<double>(now - begun_) * 1e-9, now);
  Restart(now, false);
}

void TransferMeter::Learn(double seconds, Nanos now) {
  if (bytes_ == 0 || seconds <= 0) return;
  learned_ = Expected(now);
  learned_at_ = now;
  const double in_latency = from_idle_ ? learned_.latency_s : 0;
  const double in_bytes = static_cast<double>(bytes_) / learned_.bytes_per_s;
  const double expected = in_latency + in_bytes;
  const double latency_share = in_latency / expected;
  const double bytes_share = in_bytes / expected;

  const double factor = std::log(seconds / expected);
  const double most = std::log(samples_ == 0 ? kFirstChangeMax : kChangeMax);
  if (std::abs(factor) < std::log(kSurprise)) {
    surprises_ = 0;
  } else if (factor > 0) {
    surprises_ = std::max(surprises_, 0) + 1;
  } else {
    surprises_ = std::min(surprises_, 0) - 1;
  }
  const int again = std::min(std::max(std::abs(surprises_) - 1, 0), kSurprisesMax);
  const double change =
      std::clamp(factor, -most, most) / (latency_share * latency_share + bytes_share * bytes_share);
  const auto scale = [change, again](double share, double weight) {
    return std::exp(change * share * std::min(1.0, GainOf(weight) * (1 << again)));
  };
  learned_.latency_s = std::clamp(learned_.latency_s * scale(latency_share, latency_weight_),
                                  kLatencyMin, kLatencyMax);
  learned_.bytes_per_s = std::clamp(learned_.bytes_per_s / scale(bytes_share, bandwidth_weight_),
                                    kBandwidthMin, kBandwidthMax);
  latency_weight_ += latency_share;
  bandwidth_weight_ += bytes_share;
  ++samples_;
}

TransferMeter::Rate TransferMeter::Expected(Nanos now) const {
  const auto idle = static_cast<double>(std::max<Nanos>(now - learned_at_, 0));
  if (samples_ == 0) return prior_;
  const double drift = 1 - std::exp2(-idle / kDriftHalfLife);
  return {.latency_s = Between(learned_.latency_s, prior_.latency_s, drift),
          .bytes_per_s = Between(learned_.bytes_per_s, prior_.bytes_per_s, drift)};
}

}  // namespace terrace

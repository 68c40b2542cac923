// Advice: what a daemon's figures say about other sizes of its tiers, for `terracectl
// advise` and the status endpoint's /advice. Pure functions of the daemon's metrics; any thread.
//
// A window of figures answers only when kSampledMin sampled references are in it. Advice comes from
// the last hour when that answers and the daemon is older than it, else from all since the start.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace terrace {

/// Samples of one daemon, as a Stat tells them; those of one name and labels add up.
class AdviceSamples {
 public:
  void Add(std::string_view name, std::string_view labels, double value) {
    values_[{std::string(name), std::string(labels)}] += value;
  }
  using Values = std::map<std::pair<std::string, std::string>, double>;
  [[nodiscard]] const Values& values() const noexcept { return values_; }

 private:
  Values values_;
};

/// Fewer sampled references than this answer nothing.
inline constexpr double kSampledMin = 1000;
/// What may be given up costs at most so much of the hit ratio, two standard errors included.
inline constexpr double kGiveUpMax = 0.01;

struct Advice {
  enum class Tier : std::uint8_t { kDram, kNvme, kHbm };
  /// One size. Ratios are of the blocks that clients needed.
  struct Row {
    double dram_scale = 1;  ///< of what there is
    double nvme_scale = 1;
    double hbm_scale = 1;
    double dram_bytes = 0;
    double nvme_bytes = 0;
    double hbm_bytes = 0;
    double hit_ratio = 0;
    double dram_hit_ratio = 0;  ///< from DRAM or HBM
    double standard_error = 0;  ///< of hit_ratio
    double saved_bytes_per_s = 0;
    /// hit_ratio less that of the present size, for each GiB more (or less); 0 of the present size.
    double gain_per_gib = 0;
    bool unfilled = false;  ///< some reactor has not had enough blocks to fill it since the start
    [[nodiscard]] double Scale(Tier tier) const noexcept;
    [[nodiscard]] double Bytes(Tier tier) const noexcept;
  };
  struct Window {
    bool known = false;  ///< the daemon tells it
    double seconds = 0;
    double references = 0;
    double sampled = 0;
    double hits = 0;
    double reference_bytes = 0;
    std::vector<Row> rows;  ///< DRAM, NVMe, HBM, each ascending; the present size is among DRAM's
    [[nodiscard]] bool Enough() const noexcept { return sampled >= kSampledMin; }
  };
  double dram_bytes = 0;
  double nvme_bytes = 0;  ///< 0: no such tier
  double hbm_bytes = 0;   ///< 0: likewise
  double sampling_ratio = 0;
  double memory_bytes = 0;
  double cpu_seconds = 0;
  double uptime_seconds = 0;
  Window hour;
  Window start;

  /// The window that advice is taken from.
  [[nodiscard]] const Window& Best() const noexcept;
};

Advice Advise(const AdviceSamples& samples);

/// The row of a size of one tier, the others as they are; null when it is not there.
const Advice::Row* FindRow(const Advice::Window& window, Advice::Tier tier, double scale);
/// That of the present size.
const Advice::Row* PresentRow(const Advice::Window& window);
/// There is so much HBM that the figures cannot tell what less DRAM would cost: they take a block
/// that was got for one that is in HBM, and less DRAM may lose it before it gets there.
bool HbmHidesDram(const Advice::Row& now);
/// The smallest size of one tier, the others as they are, that costs at most kGiveUpMax; null when
/// there is none.
const Advice::Row* SmallestRow(const Advice::Window& window, Advice::Tier tier);

/// One JSON object, with a newline; docs/operations.md names the keys.
std::string AdviceJson(const Advice& advice);

}  // namespace terrace

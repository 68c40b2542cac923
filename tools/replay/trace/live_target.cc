#include "tools/replay/trace/live_target.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/live_context.h"

namespace terrace::replay {
namespace {

constexpr int kTrialsMax = 24;
constexpr double kCloseEnough = 0.01;
/// A target further than this from what can be reached is refused.
constexpr double kOutOfReach = 0.1;

double ErrorOf(const LiveWorkload& workload) {
  return std::abs(workload.live_blocks - workload.wanted_blocks) / workload.wanted_blocks;
}

class Search {
 public:
  Search(GeneratorOptions options, const LiveTarget& target) : options_(options), target_(target) {}

  Result<LiveWorkload> Run() {
    // Each session should have a second request at least, or nothing of it is ever live.
    const auto most = static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(options_.requests / 2, 1, kGeneratorSessionsMax));
    std::uint32_t below = 1;
    Status status = Try(below);
    if (!status.ok()) return status;
    std::uint32_t above = below;
    while (tried_live_ < tried_wanted_ && above < most && trials_ < kTrialsMax) {
      below = above;
      above = std::min(above > most / 4 ? most : above * 4, most);
      status = Try(above);
      if (!status.ok()) return status;
    }
    const bool enclosed = tried_live_ >= tried_wanted_;
    while (enclosed && above - below > 1 && trials_ < kTrialsMax &&
           ErrorOf(*best_) > kCloseEnough) {
      const std::uint32_t middle = below + (above - below) / 2;
      status = Try(middle);
      if (!status.ok()) return status;
      (tried_live_ < tried_wanted_ ? below : above) = middle;
    }
    if (ErrorOf(*best_) > kOutOfReach &&
        !(least_ < best_->wanted_blocks && best_->wanted_blocks < greatest_)) {
      return Status::Invalid("live context of " + Rounded(best_->wanted_blocks) +
                             " blocks is out of reach with " + std::to_string(options_.requests) +
                             " requests; the nearest is " + Rounded(best_->live_blocks) + " with " +
                             std::to_string(best_->sessions) + " sessions");
    }
    return std::move(*best_);
  }

 private:
  static std::string Rounded(double value) { return std::to_string(std::llround(value)); }

  Status Try(std::uint32_t sessions) {
    ++trials_;
    options_.sessions = sessions;
    Result<Trace> trace = GenerateTrace(options_);
    if (!trace.ok()) return trace.status();
    const BlockNumbers blocks = NumberBlocks(*trace);
    tried_live_ = MeasureLiveContext(*trace, blocks).mean_blocks;
    tried_wanted_ = target_.percent ? blocks.distinct * target_.amount / 100 : target_.amount;
    least_ = std::min(least_, tried_live_);
    greatest_ = std::max(greatest_, tried_live_);
    LiveWorkload workload{.trace = std::move(trace).value(),
                          .sessions = sessions,
                          .live_blocks = tried_live_,
                          .wanted_blocks = tried_wanted_};
    if (!best_.has_value() || ErrorOf(workload) < ErrorOf(*best_)) best_ = std::move(workload);
    return Status::Ok();
  }

  GeneratorOptions options_;
  LiveTarget target_;
  int trials_ = 0;
  double tried_live_ = 0;
  double tried_wanted_ = 0;
  double least_ = 1e300;
  double greatest_ = 0;
  std::optional<LiveWorkload> best_;
};

}  // namespace

Result<LiveTarget> ParseLiveTarget(std::string_view text) {
  const Status wrong = Status::Invalid("'" + std::string(text.substr(0, 40)) +
                                       "' is neither a number of blocks nor a percentage of the "
                                       "distinct blocks, as in 5000 or 12.5%");
  LiveTarget target;
  target.percent = text.ends_with('%');
  if (target.percent) text.remove_suffix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), target.amount);
  if (error != std::errc() || end != text.data() + text.size()) return wrong;
  // Written so that NaN is outside, too.
  if (!(target.amount > 0 && target.amount <= (target.percent ? 100 : 1e12))) return wrong;
  return target;
}

Result<LiveWorkload> GenerateWithLiveContext(GeneratorOptions options, const LiveTarget& target) {
  return Search(options, target).Run();
}

}  // namespace terrace::replay

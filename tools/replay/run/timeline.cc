#include "tools/replay/run/timeline.h"

#include <algorithm>

namespace terrace::replay {
namespace {

void AddTo(TimelineInterval& sum, const TimelineInterval& interval) {
  sum.requests += interval.requests;
  sum.blocks_looked_up += interval.blocks_looked_up;
  sum.hits_dram += interval.hits_dram;
  sum.hits_nvme += interval.hits_nvme;
  sum.blocks_missed += interval.blocks_missed;
  sum.bytes_got += interval.bytes_got;
  sum.bytes_put += interval.bytes_put;
}

}  // namespace

void Timeline::Add(Nanos now, const WorkReport& report) {
  now = std::max<Nanos>(now, 0);
  while (now / width_ >= static_cast<Nanos>(kIntervalsMax)) Halve();
  const auto index = static_cast<std::size_t>(now / width_);
  if (index >= intervals_.size()) intervals_.resize(index + 1);
  TimelineInterval added{.bytes_got = report.bytes_got, .bytes_put = report.bytes_put};
  if (report.work == WorkKind::kPrefill) {
    added.blocks_looked_up = report.looked_up;
    added.hits_dram = report.hits_dram;
    added.hits_nvme = report.hits_nvme;
    added.blocks_missed =
        report.looked_up - std::min(report.hits_dram + report.hits_nvme, report.looked_up);
  } else {
    added.requests = 1;
  }
  AddTo(intervals_[index], added);
}

void Timeline::Halve() {
  width_ *= 2;
  for (std::size_t index = 0; index < intervals_.size(); ++index) {
    const TimelineInterval interval = intervals_[index];
    intervals_[index] = {};
    AddTo(intervals_[index / 2], interval);
  }
  intervals_.resize((intervals_.size() + 1) / 2);
}

}  // namespace terrace::replay

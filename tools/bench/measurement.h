// What a benchmark reports, and how limit and value are paired.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace terrace::bench {

/// One figure. The ratio is never absent, and higher is better: value over limit for a rate,
/// limit over value for a time or a size.
struct Figure {
  std::string name;        ///< e.g. "get_1MiB"
  double value = 0;        ///< median over the rounds
  std::string unit;        ///< e.g. "GB/s" (1e9), "us", "bytes", "%"
  double limit = 0;        ///< median of the limit, in the same unit
  std::string limit_name;  ///< what the limit is
  double ratio = 0;        ///< median of the rounds' ratios
  double ratio_low = 0;    ///< first quartile of the rounds' ratios
  double ratio_high = 0;   ///< third quartile
  int rounds = 0;          ///< pairs that count
  std::string state;       ///< of the machine during them: "fast", "slow" or "mixed"
  std::string note;        ///< what else has to be known to believe it; may be empty
};

double Median(std::vector<double> values);
/// Linear interpolation between order statistics; quantile in [0, 1]. 0 for no values.
double Quantile(std::vector<double> values, double quantile);

/// Round-trip of a cache line between two threads, ns: median of short bursts. A virtual machine
/// changes between states (about 100 and 500 ns) for seconds at a time, and everything that hands
/// data between cores changes with it.
double PingPongNs();

struct PairOptions {
  int rounds = 12;
  bool higher_is_better = true;
  bool by_state = true;  ///< false for what one core does alone
};

/// Alternates limit() and value(), each well under a second, with a ping-pong before and after
/// each pair; pairs of one machine state count (the state with more of them). Both functions
/// return their figure, or a negative number when the round failed (it is then left out).
Figure ComparePairs(std::string name, std::string unit, std::string limit_name,
                    const std::function<double()>& limit, const std::function<double()>& value,
                    const PairOptions& options);

/// One figure of what several rounds gave together, against a limit that is not measured.
/// `round_values` are the rounds' own, for the quartiles. A value of 0 is no measurement: no round
/// counts then.
Figure CompareTotal(std::string name, std::string unit, std::string limit_name, double limit,
                    double value, const std::vector<double>& round_values, bool higher_is_better);

/// {"path": ..., "machine": ..., "results": [...]}
std::string ToJson(const std::string& path, const std::vector<Figure>& figures);
/// A table for people; notes stand below it.
std::string ToTable(const std::string& path, const std::vector<Figure>& figures);

}  // namespace terrace::bench

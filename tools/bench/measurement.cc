#include "tools/bench/measurement.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace terrace::bench {

namespace {

constexpr double kSlowStateNs = 250;  // between the two states that were seen (100 and 500)

struct Pair {
  double limit = 0;
  double value = 0;
  double ratio = 0;
  bool slow = false;
  bool mixed = false;
};

std::string MachineText() {
  utsname kernel{};
  uname(&kernel);
  std::string model = "unknown CPU";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) == 0) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 30);
  return fmt::format("{}, {} cores, {:.0f} GiB, Linux {}", model, sysconf(_SC_NPROCESSORS_ONLN),
                     memory, kernel.release);
}

std::vector<Pair> PairsOfOneState(const std::vector<Pair>& pairs, std::string& state) {
  std::vector<Pair> fast;
  std::vector<Pair> slow;
  for (const Pair& pair : pairs) {
    if (!pair.mixed) (pair.slow ? slow : fast).push_back(pair);
  }
  if (fast.empty() && slow.empty()) {
    state = "mixed";
    return pairs;
  }
  state = fast.size() >= slow.size() ? "fast" : "slow";
  return fast.size() >= slow.size() ? fast : slow;
}

std::vector<double> Column(const std::vector<Pair>& pairs, double Pair::* member) {
  std::vector<double> column;
  for (const Pair& pair : pairs) column.push_back(pair.*member);
  return column;
}

}  // namespace

double Quantile(std::vector<double> values, double quantile) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = quantile * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (place - static_cast<double>(below));
}

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

double PingPongNs() {
  constexpr int kTrips = 2000;
  constexpr int kBursts = 5;
  alignas(64) std::atomic<int> ball{0};
  std::thread other([&ball] {
    for (int trip = 0; trip < kTrips * kBursts; ++trip) {
      while (ball.load(std::memory_order_acquire) != 2 * trip + 1) {
      }
      ball.store(2 * trip + 2, std::memory_order_release);
    }
  });
  std::vector<double> bursts;
  for (int burst = 0; burst < kBursts; ++burst) {
    const auto started = std::chrono::steady_clock::now();
    for (int trip = burst * kTrips; trip < (burst + 1) * kTrips; ++trip) {
      ball.store(2 * trip + 1, std::memory_order_release);
      while (ball.load(std::memory_order_acquire) != 2 * trip + 2) {
      }
    }
    const std::chrono::duration<double, std::nano> took =
        std::chrono::steady_clock::now() - started;
    bursts.push_back(took.count() / kTrips);
  }
  other.join();
  return Median(bursts);
}

Figure ComparePairs(std::string name, std::string unit, std::string limit_name,
                    const std::function<double()>& limit, const std::function<double()>& value,
                    const PairOptions& options) {
  std::vector<Pair> pairs;
  for (int round = 0; round < options.rounds; ++round) {
    Pair pair;
    const double before = options.by_state ? PingPongNs() : 0;
    // Who goes first alternates, so that a drift of the machine favours neither.
    if (round % 2 == 0) {
      pair.limit = limit();
      pair.value = value();
    } else {
      pair.value = value();
      pair.limit = limit();
    }
    const double after = options.by_state ? PingPongNs() : 0;
    if (pair.limit <= 0 || pair.value <= 0) continue;
    pair.slow = before > kSlowStateNs;
    pair.mixed = pair.slow != (after > kSlowStateNs);
    pair.ratio = options.higher_is_better ? pair.value / pair.limit : pair.limit / pair.value;
    pairs.push_back(pair);
  }
  Figure figure;
  figure.name = std::move(name);
  figure.unit = std::move(unit);
  figure.limit_name = std::move(limit_name);
  const std::vector<Pair> counted = PairsOfOneState(pairs, figure.state);
  figure.rounds = static_cast<int>(counted.size());
  figure.limit = Median(Column(counted, &Pair::limit));
  figure.value = Median(Column(counted, &Pair::value));
  figure.ratio = Median(Column(counted, &Pair::ratio));
  figure.ratio_low = Quantile(Column(counted, &Pair::ratio), 0.25);
  figure.ratio_high = Quantile(Column(counted, &Pair::ratio), 0.75);
  return figure;
}

Figure CompareTotal(std::string name, std::string unit, std::string limit_name, double limit,
                    double value, const std::vector<double>& round_values, bool higher_is_better) {
  const auto ratio_of = [&](double one) { return higher_is_better ? one / limit : limit / one; };
  std::vector<double> ratios;
  for (const double one : round_values) {
    if (one > 0) ratios.push_back(ratio_of(one));
  }
  Figure figure;
  figure.name = std::move(name);
  figure.unit = std::move(unit);
  figure.limit_name = std::move(limit_name);
  figure.limit = limit;
  figure.value = value;
  if (value <= 0 || ratios.empty()) return figure;
  figure.ratio = ratio_of(value);
  figure.ratio_low = Quantile(ratios, 0.25);
  figure.ratio_high = Quantile(ratios, 0.75);
  figure.rounds = static_cast<int>(ratios.size());
  figure.state = "mixed";
  return figure;
}

std::string ToJson(const std::string& path, const std::vector<Figure>& figures) {
  nlohmann::ordered_json report;
  report["path"] = path;
  report["machine"] = MachineText();
  report["results"] = nlohmann::ordered_json::array();
  for (const Figure& figure : figures) {
    report["results"].push_back({{"name", figure.name},
                                 {"value", figure.value},
                                 {"unit", figure.unit},
                                 {"limit", figure.limit},
                                 {"limit_name", figure.limit_name},
                                 {"ratio", figure.ratio},
                                 {"ratio_low", figure.ratio_low},
                                 {"ratio_high", figure.ratio_high},
                                 {"rounds", figure.rounds},
                                 {"state", figure.state},
                                 {"note", figure.note}});
  }
  return report.dump(2);
}

std::string ToTable(const std::string& path, const std::vector<Figure>& figures) {
  std::string text = fmt::format("{} on {}\n", path, MachineText());
  text += fmt::format("{:<26} {:>10} {:>10} {:<6} {:>6} {:>13} {:>6} {:<6} {}\n", "name", "value",
                      "limit", "unit", "ratio", "quartiles", "rounds", "state", "limit is");
  for (const Figure& figure : figures) {
    text += fmt::format(
        "{:<26} {:>10.3f} {:>10.3f} {:<6} {:>6.3f} {:>6.3f}-{:<6.3f} {:>6} {:<6} {}\n", figure.name,
        figure.value, figure.limit, figure.unit, figure.ratio, figure.ratio_low, figure.ratio_high,
        figure.rounds, figure.state, figure.limit_name);
  }
  for (const Figure& figure : figures) {
    if (!figure.note.empty()) text += fmt::format("{}: {}\n", figure.name, figure.note);
  }
  return text;
}

}  // namespace terrace::bench

// WritePrice: which blocks are worth a write to NVMe, so that what is written stays a given share
// of what is put, and goes to those that will most probably be read from there.
//
// Model. A block has a *value*: the probability that it is used again while its record would stay
// (EvictionPolicy::ReuseWithin over Horizon), times the share of its tokens that are there, times
// what a byte of it costs to compute again (EvictionPolicy::CostFactor): the expected saving per
// byte written, in what an average byte of the tenant costs. Blocks are offered when it is their
// turn to leave DRAM; their values, in classes an eighth of an octave wide and weighed by bytes,
// make a distribution that forgets: it halves each time kMemory bytes were offered. The *price* is
// the value at which the share of it that may be written ends. Where that share leads away from the
// budget, a *credit* corrects it: each byte put adds `share` of a byte, each byte written, for
// whatever reason, takes one. It is at most a quarter of what the tier holds; when as much is owed
// nothing is written until some of it is paid back. What is owed beyond all that the tier holds is
// forgotten.
//
// A value of 1 stands for a policy that does not know: it is worth any price, whatever the
// budget says.
//
// Pure: no time, no chance. The same code runs in the daemon and in the simulator of replay.
// Thread: the owning reactor's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace terrace {

class WritePrice {
 public:
  /// share: of the bytes put, most to be written in the long run, above 0. capacity_bytes: of the
  /// records that the tier holds; at least 1.
  WritePrice(double share, std::uint64_t capacity_bytes);

  /// A value in a byte, to an eighth of an octave: 0 where nothing is known.
  static std::uint8_t ToByte(double value) noexcept;
  static double FromByte(std::uint8_t byte) noexcept;
  /// The policy knows nothing of that block.
  [[nodiscard]] static bool Unknown(double value) noexcept { return value >= 1; }

  /// Of a block of which something is known: below 1, whatever it costs.
  static double Known(double value) noexcept { return value < kKnownMost ? value : kKnownMost; }

  /// A block came into DRAM; put: not from NVMe.
  void Came(std::uint64_t bytes, bool put) noexcept;
  /// A record of a block of so many bytes was queued for writing, or written again.
  void Wrote(std::uint64_t bytes) noexcept;
  /// What was queued was not written after all.
  void Unwrote(std::uint64_t bytes) noexcept;

  /// Blocks that come into DRAM while a record stays on NVMe, at the present rates; at least 1.
  [[nodiscard]] std::uint64_t Horizon() const noexcept;

  /// It is a block's turn to leave DRAM. True: write it.
  [[nodiscard]] bool Offer(double value, std::uint64_t bytes) noexcept;
  /// The same for a block that is not: it changes no price.
  [[nodiscard]] bool Pays(double value) const noexcept;

  /// Of the lowest class that is written now; 0 while everything is.
  [[nodiscard]] double price() const noexcept;
  /// Bytes that may be written; negative when too many were.
  [[nodiscard]] double credit() const noexcept { return credit_; }

 private:
  static constexpr double kKnownMost = 0.999;
  static constexpr std::size_t kClassesPerOctave = 8;
  static constexpr std::size_t kClasses = 16 * kClassesPerOctave;
  static std::size_t ClassOf(double value) noexcept;
  /// Of the bytes offered, those that may be written now.
  [[nodiscard]] double ShareNow() const noexcept;
  void SetPrice() noexcept;

  const double share_;
  const double capacity_;
  const double credit_max_;
  double credit_ = 0;
  double came_ = 0;                         // blocks, fading
  double came_bytes_ = 0;                   // of them
  double wrote_ = 0;                        // bytes, fading with came_
  std::array<double, kClasses> offered_{};  // bytes by class, the most valuable first; fading
  double offered_sum_ = 0;
  double since_priced_ = 0;
  std::size_t price_class_ = kClasses - 1;  // the last class that is written
};

}  // namespace terrace

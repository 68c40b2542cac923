#include "cache/write_price.h"

#include <algorithm>
#include <cmath>

namespace terrace {

namespace {
/// Of the tier's capacity: offered bytes after which the distribution is halved, and those after
/// which the price is found anew.
constexpr double kMemory = 0.25;
constexpr double kPricedEvery = 1.0 / 512;
/// Of the tier's capacity: bytes came after which the rates are halved.
constexpr double kRateMemory = 1;
/// Of the tier's capacity: credit at most, and what is owed that stops the writes.
constexpr double kCreditMax = 1.0 / 4;
}  // namespace

WritePrice::WritePrice(double share, std::uint64_t capacity_bytes)
    : share_(share),
      capacity_(static_cast<double>(capacity_bytes)),
      credit_max_(capacity_ * kCreditMax),
      credit_(0) {}

void WritePrice::Came(std::uint64_t bytes, bool put) noexcept {
  came_ += 1;
  came_bytes_ += static_cast<double>(bytes);
  if (put) credit_ = std::min(credit_max_, credit_ + share_ * static_cast<double>(bytes));
  if (came_bytes_ < kRateMemory * capacity_) return;
  came_ /= 2;
  came_bytes_ /= 2;
  wrote_ /= 2;
}

void WritePrice::Wrote(std::uint64_t bytes) noexcept {
  wrote_ += static_cast<double>(bytes);
  credit_ = std::max(-credit_max_, credit_ - static_cast<double>(bytes));
}

void WritePrice::Unwrote(std::uint64_t bytes) noexcept {
  wrote_ = std::max(0.0, wrote_ - static_cast<double>(bytes));
  credit_ = std::min(credit_max_, credit_ + static_cast<double>(bytes));
}

std::uint64_t WritePrice::Horizon() const noexcept {
  if (came_ < 1) return 1;
  // Before much was written the budget says how much it will be.
  const double least = share_ * came_bytes_ / 4;
  const double blocks = capacity_ * came_ / std::max(wrote_, least);
  return static_cast<std::uint64_t>(std::clamp(blocks, 1.0, 1e15));
}

std::size_t WritePrice::ClassOf(double value) noexcept {
  if (!(value > 0)) return kClasses - 1;
  const double octaves = -std::log2(std::min(value, 1.0));
  return std::min(kClasses - 1, static_cast<std::size_t>(octaves * kClassesPerOctave));
}

std::uint8_t WritePrice::ToByte(double value) noexcept {
  return Unknown(value) ? std::uint8_t{0} : static_cast<std::uint8_t>(1 + ClassOf(value));
}

double WritePrice::FromByte(std::uint8_t byte) noexcept {
  // The middle of its class.
  return byte == 0 ? 1 : std::exp2(-(byte - 0.5) / kClassesPerOctave);
}

double WritePrice::ShareNow() const noexcept {
  // Half the credit left, and half the credit owed, double and halve nothing: straight lines
  // between nothing, the share and all of it.
  const double part = credit_ / credit_max_;  // -1 to 1
  return part < 0 ? share_ * (1 + part) : share_ + (1 - share_) * part;
}

void WritePrice::SetPrice() noexcept {
  double left = ShareNow() * offered_sum_;
  price_class_ = 0;
  while (price_class_ + 1 < kClasses && left > offered_[price_class_]) {
    left -= offered_[price_class_++];
  }
}

bool WritePrice::Offer(double value, std::uint64_t bytes) noexcept {
  if (Unknown(value)) return true;
  const auto size = static_cast<double>(bytes);
  offered_[ClassOf(value)] += size;
  offered_sum_ += size;
  since_priced_ += size;
  if (since_priced_ > kPricedEvery * capacity_) {
    since_priced_ = 0;
    SetPrice();
  }
  if (offered_sum_ > kMemory * capacity_) {
    for (double& of_class : offered_) of_class /= 2;
    offered_sum_ /= 2;
  }
  return Pays(value);
}

bool WritePrice::Pays(double value) const noexcept {
  if (Unknown(value)) return true;
  const std::size_t of_class = ClassOf(value);
  if (credit_ <= -credit_max_ || of_class > price_class_) return false;
  return of_class < price_class_ || credit_ > 0;
}

double WritePrice::price() const noexcept {
  if (price_class_ + 1 == kClasses) return 0;
  return std::exp2(-static_cast<double>(price_class_ + 1) / kClassesPerOctave);
}

}  // namespace terrace

#include "tools/common/byte_size.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>

namespace terrace {

namespace {

struct Unit {
  std::string_view name;  // lower case
  std::uint64_t bytes;
};
constexpr std::array<Unit, 9> kUnits = {{{"tib", 1ULL << 40},
                                         {"gib", 1ULL << 30},
                                         {"mib", 1ULL << 20},
                                         {"kib", 1ULL << 10},
                                         {"tb", 1'000'000'000'000},
                                         {"gb", 1'000'000'000},
                                         {"mb", 1'000'000},
                                         {"kb", 1'000},
                                         {"b", 1}}};
constexpr double kBytesMax = 9223372036854775808.0;  // 2^63

Status Bad(std::string_view text, std::string_view reason) {
  constexpr std::size_t kShownMax = 64;  // bytes of the text that a message repeats
  std::string message = "\"";
  message += text.substr(0, kShownMax);
  message += text.size() > kShownMax ? "...\": " : "\": ";
  message += reason;
  return Status::Invalid(std::move(message));
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.remove_suffix(1);
  }
  return text;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) {
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return lower;
}

// Splits "1.5 GiB" into the number and what follows it.
struct Number {
  double value = 0;
  std::uint64_t whole = 0;  // exact when is_whole
  bool is_whole = false;
  std::string_view rest;
};

Result<Number> ReadNumber(std::string_view text) {
  const std::string_view trimmed = Trim(text);
  if (trimmed.empty()) return Bad(text, "is empty; write a size such as \"1GiB\"");
  if (trimmed.front() == '-') return Bad(text, "is negative");
  // from_chars alone would take "inf" and "nan".
  const char first = trimmed.front();
  if (first != '.' && std::isdigit(static_cast<unsigned char>(first)) == 0) {
    return Bad(text, "does not begin with a number");
  }
  Number number;
  const char* begin = trimmed.data();
  const char* end = begin + trimmed.size();
  const auto [stop, error] = std::from_chars(begin, end, number.value, std::chars_format::fixed);
  if (error == std::errc::result_out_of_range) return Bad(text, "is too large");
  if (error != std::errc()) return Bad(text, "does not begin with a number");
  const auto [whole_stop, whole_error] = std::from_chars(begin, end, number.whole);
  number.is_whole = whole_error == std::errc() && whole_stop == stop;
  number.rest = Trim({stop, static_cast<std::size_t>(end - stop)});
  return number;
}

Result<std::uint64_t> Scale(std::string_view text, const Number& number) {
  std::uint64_t unit = 1;
  if (!number.rest.empty()) {
    const std::string name = Lower(number.rest);
    unit = 0;
    for (const Unit& known : kUnits) {
      if (known.name == name) unit = known.bytes;
    }
    if (unit == 0) {
      return Bad(text, "has an unknown unit; known are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB");
    }
  }
  const double bytes = number.value * static_cast<double>(unit);
  if (!(bytes < kBytesMax)) return Bad(text, "is more than 2^63 bytes");
  if (number.is_whole) return number.whole * unit;
  if (unit == 1) return Bad(text, "is not a whole number of bytes");
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace

std::uint64_t ByteAmount::Of(std::uint64_t whole) const noexcept {
  if (!is_percent) return bytes;
  return static_cast<std::uint64_t>(static_cast<long double>(whole) *
                                    (static_cast<long double>(percent) / 100.0L));
}

Result<std::uint64_t> ParseByteSize(std::string_view text) {
  const Result<Number> number = ReadNumber(text);
  if (!number.ok()) return number.status();
  return Scale(text, *number);
}

Result<ByteAmount> ParseByteAmount(std::string_view text) {
  const Result<Number> number = ReadNumber(text);
  if (!number.ok()) return number.status();
  ByteAmount amount;
  if (number->rest == "%") {
    if (!(number->value > 0) || number->value > 100) {
      return Bad(text, "a percentage must be above 0 % and at most 100 %");
    }
    amount.is_percent = true;
    amount.percent = number->value;
    return amount;
  }
  const Result<std::uint64_t> bytes = Scale(text, *number);
  if (!bytes.ok()) return bytes.status();
  amount.bytes = *bytes;
  return amount;
}

std::string FormatByteSize(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.5 would be shown as "1024" in the smaller unit.
  while (value >= 1023.5 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  int decimals = 0;
  if (value != std::floor(value)) decimals = value < 9.995 ? 2 : (value < 99.95 ? 1 : 0);
  std::snprintf(text, sizeof(text), "%.*f %s", decimals, value, kNames[unit]);
  return text;
}

std::string ExactByteSize(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 4> kNames = {"TiB", "GiB", "MiB", "KiB"};
  for (std::size_t index = 0; index < kNames.size(); ++index) {
    const std::uint64_t unit = 1ULL << (10 * (kNames.size() - index));
    if (bytes >= unit && bytes % unit == 0) {
      return std::to_string(bytes / unit) + std::string(kNames[index]);
    }
  }
  return std::to_string(bytes);
}

}  // namespace terrace

// Byte sizes as people write them: "1GiB", "512 MB", "25%", 4096.
//
// Pure functions; any thread; no exceptions. Binary units KiB, MiB, GiB, TiB are powers of 1024,
// decimal units KB, MB, GB, TB powers of 1000; letters in either case; "B" or no unit: bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace {

/// Bytes, or a share of something whose size is known later.
struct ByteAmount {
  bool is_percent = false;
  double percent = 0;       ///< 0 < percent <= 100 when is_percent
  std::uint64_t bytes = 0;  ///< when not is_percent
  /// Bytes; a percentage is taken of `whole` bytes, rounded down.
  [[nodiscard]] std::uint64_t Of(std::uint64_t whole) const noexcept;
  friend bool operator==(const ByteAmount&, const ByteAmount&) = default;
};

/// "1.5GiB" is 1610612736. kInvalid, with the text and the reason, for anything else than a number
/// and a known unit, a negative number, and more than 2^63 bytes.
Result<std::uint64_t> ParseByteSize(std::string_view text);

/// As ParseByteSize, or a percentage above 0 % and up to 100 %: "25%", "2.5 %".
Result<ByteAmount> ParseByteAmount(std::string_view text);

/// For people: "0 B", "640 KiB", "1.50 GiB": the largest binary unit that gives at least 1, whole
/// numbers without a fraction, else three significant digits.
[[nodiscard]] std::string FormatByteSize(std::uint64_t bytes);

/// For configuration files: exact, "1GiB", "1536MiB", "4097"; ParseByteSize gives `bytes` back.
[[nodiscard]] std::string ExactByteSize(std::uint64_t bytes);

}  // namespace terrace

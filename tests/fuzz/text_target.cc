// Small texts that people write: addresses, sizes, names, labels. What is taken can be written so
// that it is taken again for the same.
#include <array>
#include <string>

#include "base/check.h"
#include "client/session/address.h"
#include "tests/fuzz/fuzz_input.h"
#include "tools/common/byte_size.h"
#include "tools/common/listen_address.h"
#include "tools/common/nearest_name.h"
#include "tools/terracectl/stat_summary.h"
#include "tools/terraced/logs/log_level.h"

namespace terrace::fuzz {
namespace {

/// A refusal says what it is about, and stays short however long the text was.
void CheckRefusal(const Status& status) {
  TERRACE_CHECK(status.code() == StatusCode::kInvalid);
  TERRACE_CHECK(!status.message().empty() && status.message().size() < 600);
}

void TryListenAddress(std::string_view text) {
  const auto address = ParseListenAddress(text);
  if (!address.ok()) return CheckRefusal(address.status());
  TERRACE_CHECK(address->host.find_first_not_of("0123456789abcdefABCDEF:.") == std::string::npos);
  const auto again = ParseListenAddress(address->ToString());
  TERRACE_CHECK(again.ok() && *again == *address);
  (void)address->IsLoopback();
  (void)address->IsAnyAddress();
}

void TryAddress(std::string_view text) {
  const auto address = ParseAddress(text);
  if (!address.ok()) return CheckRefusal(address.status());
  TERRACE_CHECK(!address->host.empty() && address->host.size() <= 255 && address->port != 0);
  // What the system's functions would cut short is not the host that was meant.
  TERRACE_CHECK(address->host.find('\0') == std::string::npos);
  const auto again = ParseAddress("[" + address->host + "]:" + std::to_string(address->port));
  if (address->host.find(']') != std::string::npos) return;
  TERRACE_CHECK(again.ok() && again->host == address->host && again->port == address->port);
}

void TryByteSize(std::string_view text) {
  const auto amount = ParseByteAmount(text);
  const auto size = ParseByteSize(text);
  if (size.ok()) {
    TERRACE_CHECK(amount.ok() && !amount->is_percent && amount->bytes == *size);
    TERRACE_CHECK(*size < std::uint64_t{1} << 63);
    TERRACE_CHECK(FormatByteSize(*size).size() < 16);
    const auto again = ParseByteSize(ExactByteSize(*size));
    // Near 2^63 a double cannot tell the number from one that is too large.
    if (*size < (std::uint64_t{1} << 63) - 1024) TERRACE_CHECK(again.ok() && *again == *size);
    return;
  }
  CheckRefusal(size.status());
  if (!amount.ok()) return CheckRefusal(amount.status());
  TERRACE_CHECK(amount->is_percent && amount->percent > 0 && amount->percent <= 100);
  TERRACE_CHECK(amount->Of(1000) <= 1000);
}

void TryNames(std::string_view text) {
  static constexpr std::array<std::string_view, 4> kNames = {"listen", "capacity", "a", ""};
  const std::string_view near = NearestName(text, kNames);
  TERRACE_CHECK(near.empty() || text.size() <= 64);
  if (const auto level = LogLevelFromName(text)) TERRACE_CHECK(LogLevelName(*level) == text);
  Input input(std::as_bytes(std::span(text)));
  const std::string_view name = input.Text();
  const std::string_view labels = input.RestText();
  TERRACE_CHECK(LabelValue(labels, name).size() <= labels.size());
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::uint8_t kind = input.Byte();
  const std::string text(input.RestText());  // of its exact length, so that reading on is found
  switch (kind % 4) {
    case 0: return TryListenAddress(text);
    case 1: return TryAddress(text);
    case 2: return TryByteSize(text);
    default: return TryNames(text);
  }
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  const auto add = [&](unsigned kind, std::string_view text) {
    seeds.push_back(Output().Byte(kind).Raw(text).Take());
  };
  for (const char* text : {"127.0.0.1:7420", "[::1]:0", "[fe80::1]:65535", "x:1", ":"}) {
    add(0, text);
    add(1, text);
  }
  for (const char* text : {"1GiB", "1.5 mib", "25%", "4096", "9223372036854774000", "0.5kb"}) {
    add(2, text);
  }
  add(3, "lsten");
  add(3, "info");
  add(3, std::string_view("\x04tierlink=\"tcp\",tier=\"dr\\\"am\"", 29));
  return seeds;
}

}  // namespace

const Target kTextTarget{.name = "text", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz

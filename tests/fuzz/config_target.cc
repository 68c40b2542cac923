// A configuration is either taken, with every setting within its range, or refused with the places.
#include <string>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tools/terraced/config/config.h"
#include "tools/terraced/config/config_keys.h"

namespace terrace::fuzz {
namespace {

constexpr std::uint64_t kMemoryBytes = 64ULL << 30;

/// "f:LINE: ", and a reason after it.
bool NamesItsPlace(std::string_view line) {
  if (!line.starts_with("f:")) return false;
  const std::size_t end = line.find(':', 2);
  if (end == std::string_view::npos || end == 2 || line.size() < end + 3) return false;
  return line.substr(2, end - 2).find_first_not_of("0123456789") == std::string_view::npos;
}

void CheckRanges(DaemonConfig config) {
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.minimum == 0 && key.maximum == 0) continue;
    std::uint64_t value = key.minimum;
    if (key.kind == ConfigKind::kNumber) value = *static_cast<std::uint32_t*>(key.field(config));
    if (key.kind == ConfigKind::kBytes || key.kind == ConfigKind::kAmount) {
      value = *static_cast<std::uint64_t*>(key.field(config));
    }
    TERRACE_CHECK(value >= key.minimum && value <= key.maximum);
  }
  TERRACE_CHECK(config.server.trusted_network || config.server.listen.IsLoopback());
  TERRACE_CHECK(config.dram.capacity_bytes <= kMemoryBytes);
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::string text(input.RestText());
  const auto config = ParseConfig(text, "f", kMemoryBytes);
  if (config.ok()) return CheckRanges(*config);
  TERRACE_CHECK(config.code() == StatusCode::kInvalid);
  TERRACE_CHECK(NamesItsPlace(config.status().message()));
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  // Every key of its own, so that none is lost where the fuzzer cuts, and some together.
  for (const ConfigKey& key : ConfigKeys()) {
    seeds.push_back(Output()
                        .Raw("[" + std::string(key.section) + "]\n" + std::string(key.name) +
                             " = " + std::string(key.default_value) + "\n")
                        .Take());
  }
  for (const char* text :
       {"[nvme]\nfolder = \"/f\"\nfiles = [\"/a\", \"/b\"]\ncapacity = \"50%\"\n",
        "server.listen = \"[::1]:1\"\ndram.capacity = \"25%\"\n", "a = 1979-05-27T07:32:00Z\n",
        "[x]\ny = {z = [1.5e3, true, 'q']}\n", "[server]\nreactors = 0x10\nlisten = 5\n"}) {
    seeds.push_back(Output().Raw(std::string_view(text)).Take());
  }
  return seeds;
}

}  // namespace

const Target kConfigTarget{.name = "config", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz

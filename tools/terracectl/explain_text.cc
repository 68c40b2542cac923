// What terracectl explain says of the answers, for people and for programs.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "base/limits.h"
#include "tools/common/byte_size.h"
#include "tools/terracectl/explain_command.h"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

using Json = nlohmann::ordered_json;

int DigitOf(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  if (letter >= 'A' && letter <= 'F') return letter - 'A' + 10;
  return -1;
}

double SecondsOf(const BlockStoryInfo& story) {
  return static_cast<double>(story.age.count()) * 1e-3;
}

std::string TiersOf(TierSet tiers) {
  std::string text;
  const auto add = [&](TierSet tier, std::string_view name) {
    if ((tiers & tier) == 0) return;
    if (!text.empty()) text += " and ";
    text += name;
  };
  add(kTierSetHbm, "HBM");
  add(kTierSetDram, "DRAM");
  add(kTierSetNvme, "NVMe");
  return text.empty() ? "no tier" : text;
}

/// Of a daemon that is newer than this program: "unknown (19)".
std::string NameOf(MissReason reason) {
  std::string name(MissReasonName(reason));
  const auto number = static_cast<std::size_t>(reason);
  return number < kMissReasonCount ? name : name + " (" + std::to_string(number) + ")";
}

/// Why a block that is not stored is not.
std::string WhyGone(MissReason reason) {
  switch (reason) {
    case MissReason::kEvicted: return "evicted from DRAM, and NVMe had no record of it,";
    case MissReason::kNvmeReused: return "its segment on NVMe was reused";
    case MissReason::kIndexFull: return "forgotten because the index was full,";
    case MissReason::kRemoved: return "removed by a client";
    case MissReason::kCleared: return "cleared with its namespace";
    case MissReason::kCorrupt: return "forgotten because its bytes were wrong,";
    case MissReason::kDevice: return "forgotten because its device failed,";
    case MissReason::kPutRefused: return "put, but refused for lack of room,";
    case MissReason::kPutFailed: return "put, but its bytes did not come,";
    default: return "gone (" + NameOf(reason) + ")";
  }
}

std::string Stored(const BlockStoryInfo& story) {
  std::string text = "in " + TiersOf(story.tiers) + ", " + FormatByteSize(story.block_bytes) +
                     ", position " + std::to_string(story.position) + ", " +
                     std::to_string(story.valid_tokens) + " tokens";
  text += story.age.count() == 0 ? ", stored less than a minute ago"
                                 : ", stored " + FormatDuration(SecondsOf(story)) + " ago";
  text += story.gets >= 2 ? ", got more than once" : story.gets == 1 ? ", got once" : ", not got";
  if (story.loading) text += ", being read from NVMe";
  if (story.writing) text += ", being written to NVMe";
  if (story.kept) text += ", kept by a label";
  if (story.leased) text += ", leased";
  if (story.pins > 0) text += ", in use by " + std::to_string(story.pins);
  if (story.reason == MissReason::kDevice) text += "; MISS: its device is offline";
  return text;
}

}  // namespace

SpaceName SpaceOf(const CommandOptions& options, const std::string& text) {
  const std::size_t slash = text.find('/');
  if (options.tenant_given || slash == std::string::npos) return {options.tenant, text};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

Result<std::vector<std::byte>> ParseKey(const std::string& text) {
  const std::string shown = "\"" + Printable(text.substr(0, 2 * kKeyBytesMax)) + "\"";
  if (text.empty() || text.size() % 2 != 0 || text.size() > 2 * kKeyBytesMax) {
    return Status::Invalid("key " + shown + " has " + std::to_string(text.size()) +
                           " hexadecimal digits, not 2 to " + std::to_string(2 * kKeyBytesMax) +
                           ", two for each byte");
  }
  std::vector<std::byte> key;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = DigitOf(text[i]);
    const int low = DigitOf(text[i + 1]);
    if (high < 0 || low < 0) {
      return Status::Invalid("key " + shown + " is not hexadecimal at digit " +
                             std::to_string(high < 0 ? i + 1 : i + 2));
    }
    key.push_back(static_cast<std::byte>(high * 16 + low));
  }
  return key;
}

std::string StoryText(const BlockStoryInfo& story) {
  if (story.published) return Stored(story);
  switch (story.reason) {
    case MissReason::kNeverSeen:
      return "MISS: never seen, or gone for longer than the daemon remembers";
    case MissReason::kPending: return "MISS: being put at this moment";
    case MissReason::kKeyMismatch: return "MISS: another key's block has its place";
    default:
      return "MISS: " + WhyGone(story.reason) + " " + FormatDuration(SecondsOf(story)) + " ago";
  }
}

std::string StoriesText(std::span<const std::string> keys,
                        std::span<const BlockStoryInfo> stories) {
  std::string text;
  for (std::size_t i = 0; i < stories.size(); ++i) {
    text += keys[i] + "  " + StoryText(stories[i]) + "\n";
  }
  if (stories.size() < 2) return text;
  const auto missing =
      std::find_if(stories.begin(), stories.end(),
                   [](const BlockStoryInfo& story) { return story.reason != MissReason::kNone; });
  if (missing == stories.end()) {
    return text + "\nA get of these " + FormatCount(static_cast<double>(stories.size())) +
           " blocks would be answered with all of them.\n";
  }
  const auto behind = std::count_if(missing + 1, stories.end(), [](const BlockStoryInfo& story) {
    return story.reason == MissReason::kNone;
  });
  const auto first = missing - stories.begin();
  text += "\nA prefix of " + FormatCount(static_cast<double>(first)) + " of " +
          FormatCount(static_cast<double>(stories.size())) +
          " blocks is there. The first that is missing is number " +
          FormatCount(static_cast<double>(first + 1)) + " (" + NameOf(missing->reason) +
          "). Of those behind it " + FormatCount(static_cast<double>(behind)) +
          " are there, of no use without it.\n";
  return text;
}

std::string StoriesJson(std::span<const std::string> keys,
                        std::span<const BlockStoryInfo> stories) {
  Json blocks = Json::array();
  std::size_t prefix = stories.size();
  for (std::size_t i = 0; i < stories.size(); ++i) {
    const BlockStoryInfo& story = stories[i];
    const bool hit = story.reason == MissReason::kNone;
    if (!hit) prefix = std::min(prefix, i);
    Json block = {{"key", keys[i]},
                  {"hit", hit},
                  {"reason", hit ? Json(nullptr) : Json(NameOf(story.reason))},
                  {"stored", story.published}};
    if (story.published) {
      block["hbm"] = (story.tiers & kTierSetHbm) != 0;
      block["dram"] = (story.tiers & kTierSetDram) != 0;
      block["nvme"] = (story.tiers & kTierSetNvme) != 0;
      block["bytes"] = story.block_bytes;
      block["position"] = story.position;
      block["valid_tokens"] = story.valid_tokens;
      block["gets"] = story.gets;
      block["loading"] = story.loading;
      block["writing"] = story.writing;
      block["kept"] = story.kept;
      block["leased"] = story.leased;
      block["pins"] = story.pins;
    }
    const bool known = story.published || (story.reason != MissReason::kNeverSeen &&
                                           story.reason != MissReason::kPending &&
                                           story.reason != MissReason::kKeyMismatch);
    block["age_seconds"] = known ? Json(SecondsOf(story)) : Json(nullptr);
    block["reactor"] = known ? Json(story.reactor) : Json(nullptr);
    blocks.push_back(std::move(block));
  }
  const Json json = {{"blocks", std::move(blocks)},
                     {"prefix", prefix},
                     {"first_missing", prefix < stories.size() ? Json(prefix) : Json(nullptr)}};
  return json.dump() + "\n";
}

}  // namespace terrace

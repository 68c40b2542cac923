#include "tools/terracectl/explain_command.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>

#include "base/limits.h"
#include "client/terrace.hpp"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

constexpr int kUsageError = 2;
constexpr int kMissed = 3;

int Fail(const std::string& message, int code = 1) {
  std::cerr << "terracectl: " << message << '\n';
  return code;
}

/// Adds the keys of a file; empty lines count for nothing.
Status ReadKeys(const std::string& path, std::vector<std::string>& keys) {
  std::ifstream file;
  if (path != "-") {
    errno = 0;
    file.open(path);
    if (!file) return Status(StatusCode::kIo, path + ": " + std::strerror(errno));
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (const auto key = ParseKey(line); !key.ok()) {
      return Status::Invalid(path + ":" + std::to_string(number) + ": " + key.status().message());
    }
    if (keys.size() == kExplainKeysAsked) {
      return Status::Invalid(path + ":" + std::to_string(number) + ": more than " +
                             std::to_string(kExplainKeysAsked) + " keys");
    }
    keys.push_back(line);
  }
  if (in.bad()) return Status(StatusCode::kIo, path + " cannot be read");
  return {};
}

/// In questions that the protocol allows.
Result<std::vector<BlockStoryInfo>> Ask(Client& client, const CommandOptions& options,
                                        const ExplainOptions& explain, const std::string& space,
                                        const std::vector<std::vector<std::byte>>& keys) {
  std::vector<BlockStoryInfo> stories;
  for (std::size_t at = 0; at < keys.size(); at += kExplainKeysMax) {
    const std::size_t end = std::min<std::size_t>(at + kExplainKeysMax, keys.size());
    const std::vector<std::span<const std::byte>> some(
        keys.begin() + static_cast<std::ptrdiff_t>(at),
        keys.begin() + static_cast<std::ptrdiff_t>(end));
    Result<std::vector<BlockStoryInfo>> told = client.Explain(
        {.space = space, .block = {.group = explain.group, .shard = explain.shard}, .keys = some},
        In(options.timeout));
    if (!told.ok()) return told.status();
    stories.insert(stories.end(), told->begin(), told->end());
  }
  return stories;
}

}  // namespace

int RunExplain(const CommandOptions& options, const ExplainOptions& explain) {
  std::vector<std::string> texts = explain.keys;
  if (!explain.file.empty()) {
    if (Status status = ReadKeys(explain.file, texts); !status.ok()) {
      return Fail("explain: " + status.message(), kUsageError);
    }
  }
  if (texts.empty()) return Fail("explain needs --key HEX, or --keys FILE with some", kUsageError);
  std::vector<std::vector<std::byte>> keys;
  for (const std::string& text : texts) {
    Result<std::vector<std::byte>> key = ParseKey(text);
    if (!key.ok()) return Fail("explain: " + key.status().message(), kUsageError);
    keys.push_back(std::move(key).value());
  }
  const auto [tenant, space] = SpaceOf(options, explain.space);
  const Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = options.address,
                       .tenant = tenant,
                       .name = "terracectl",
                       .link = LinkChoice::kTcp,
                       .connect_timeout = options.timeout});
  if (!client.ok()) return Fail(ConnectAdvice(options.address, client.status()));
  const Result<std::vector<BlockStoryInfo>> stories = Ask(**client, options, explain, space, keys);
  if (stories.code() == StatusCode::kMiss) {
    return Fail("there is no namespace \"" + Printable(space) + "\" of tenant \"" +
                Printable(tenant) + "\"; `terracectl namespaces` lists them");
  }
  if (!stories.ok()) return Fail("explain failed: " + stories.status().ToString());
  std::cout << (options.json ? StoriesJson(texts, *stories) : StoriesText(texts, *stories))
            << std::flush;
  if (!std::cout) return 1;
  const bool all = std::all_of(stories->begin(), stories->end(), [](const BlockStoryInfo& story) {
    return story.reason == MissReason::kNone;
  });
  return all ? 0 : kMissed;
}

}  // namespace terrace

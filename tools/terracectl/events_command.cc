#include "tools/terracectl/events_command.h"

#include <chrono>
#include <iostream>
#include <memory>
#include <span>
#include <thread>

#include "client/terrace.hpp"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

std::string Hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

std::string Hex(const BlockIdentity& identity) {
  std::string text;
  for (const std::uint64_t half : {identity.high, identity.low}) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      const std::byte byte{static_cast<std::uint8_t>(half >> shift)};
      text += Hex({&byte, 1});
    }
  }
  return text;
}

std::string TiersText(TierSet tiers) {
  std::string text;
  if ((tiers & kTierSetHbm) != 0) text += "hbm";
  if ((tiers & kTierSetDram) != 0) text += text.empty() ? "dram" : "+dram";
  if ((tiers & kTierSetNvme) != 0) text += text.empty() ? "nvme" : "+nvme";
  return text.empty() ? "none" : text;
}

/// What a reader must know besides events.
void PrintHead(const EventBatch& batch) {
  if (batch.restarted) std::cout << "restarted\n";
  for (const EventGap& gap : batch.gaps) {
    std::cout << "gap reactor=" << gap.reactor << " first=" << gap.first << " last=" << gap.last
              << '\n';
  }
}

}  // namespace

std::string EventLine(const BlockEventInfo& event) {
  std::string line = "reactor=" + std::to_string(event.reactor);
  if (event.sequence != 0) line += " sequence=" + std::to_string(event.sequence);
  line += " " + std::string(EventKindName(event.kind));
  if (event.cause != EventCause::kNone)
    line += " cause=" + std::string(EventCauseName(event.cause));
  line += " space=" + Printable(event.space);
  if (event.kind == EventKind::kCleared) return line;
  line += " position=" + std::to_string(event.position) + " tiers=" + TiersText(event.tiers) +
          " identity=" + Hex(event.identity);
  if (!event.key.empty()) {
    line += " group=" + std::to_string(event.block.group) +
            " shard=" + std::to_string(event.block.shard) + " key=" + Hex(event.key);
  }
  if (!event.parent_key.empty()) line += " parent=" + Hex(event.parent_key);
  if (!event.token_ids.empty()) line += " tokens=" + std::to_string(event.token_ids.size());
  return line;
}

int RunEvents(const CommandOptions& options, const EventsOptions& events) {
  const Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = options.address,
                       .tenant = options.tenant,
                       .name = "terracectl",
                       .link = LinkChoice::kTcp,
                       .connect_timeout = options.timeout});
  if (!client.ok()) {
    std::cerr << "terracectl: " << ConnectAdvice(options.address, client.status()) << '\n';
    return 1;
  }
  const EventQuery query{.space = events.space};
  EventCursor cursor;
  bool walking = events.snapshot;
  std::uint64_t printed = 0;
  while (std::cout && (events.count == 0 || printed < events.count)) {
    const Result<EventBatch> batch =
        walking ? (*client)->ReadSnapshot(cursor, query, In(options.timeout))
                : (*client)->ReadEvents(cursor, query, In(options.timeout));
    if (!batch.ok()) {
      std::cerr << "terracectl: events of " << options.address
                << " failed: " << batch.status().ToString() << '\n';
      if (batch.code() == StatusCode::kUnsupported || batch.code() == StatusCode::kInvalid)
        return 1;
      std::this_thread::sleep_for(std::chrono::seconds(1));
      continue;
    }
    // The first answer to an empty cursor only says where to begin.
    if (!cursor.reactors.empty()) PrintHead(*batch);
    for (const BlockEventInfo& event : batch->events) {
      if (events.count != 0 && printed == events.count) break;
      std::cout << EventLine(event) << '\n';
      ++printed;
    }
    std::cout << std::flush;
    cursor = batch->cursor;
    if (walking && batch->complete) walking = false;
  }
  return std::cout ? 0 : 1;
}

}  // namespace terrace

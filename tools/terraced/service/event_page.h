// EventPage: an EventsReply in the making. Copies what it is given. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cache/event_log.h"
#include "cache/namespace_registry.h"
#include "transport/codec.h"

namespace terrace {

class EventPage {
 public:
  /// Bytes of events after which a page is full: a reply then fits a message with ease, the last
  /// event being at most 65 KiB.
  static constexpr std::size_t kBytesMax = 1 << 20;

  /// `registry` outlives it. `space`: name of a namespace, or empty for all of the tenant.
  EventPage(const NamespaceRegistry& registry, std::string tenant, std::string space,
            std::uint32_t most)
      : registry_(registry), tenant_(std::move(tenant)), space_(std::move(space)), most_(most) {}

  [[nodiscard]] bool Full() const noexcept {
    return events_.size() >= most_ || builder_.GetSize() >= kBytesMax;
  }
  [[nodiscard]] bool empty() const noexcept { return events_.empty(); }
  /// Adds an event that the reader may see and wants to see. REQUIRES: not Full().
  void Add(std::uint64_t sequence, const BlockEvent& event);

  struct Head {
    std::uint64_t incarnation = 0;
    bool restarted = false;
    std::uint64_t lost_first = 0;
    std::uint64_t lost_last = 0;
    std::uint64_t next = 0;
    std::uint64_t end = 0;
    std::uint64_t from_block = 0;
  };
  /// The message. Once.
  std::vector<std::byte> Finish(std::uint64_t request_id, const Head& head);

 private:
  /// Null: not for this reader.
  const std::string* NameOf(std::uint32_t namespace_id);

  const NamespaceRegistry& registry_;
  const std::string tenant_;
  const std::string space_;
  const std::uint32_t most_;
  /// By id; empty: not for this reader. The registry takes a lock, so it is asked once a page.
  std::map<std::uint32_t, std::string> names_;
  flatbuffers::FlatBufferBuilder builder_;
  std::vector<flatbuffers::Offset<wire::BlockEvent>> events_;
};

}  // namespace terrace

// terrace.h: clients, namespaces, memory, completions, and what the daemon tells of itself.
#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "client/c/call.h"
#include "client/c/convert.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using terrace::Client;
using terrace::Result;
using terrace::Status;

namespace {

constexpr std::uint64_t kPollMax = 4096;  // no more calls are ever in flight

Status GiveRegion(const Result<terrace::RegionId>& result, terrace_region* region) {
  if (!result.ok()) return result.status();
  *region = result->value;
  return {};
}

terrace_block_story FromStory(const terrace::BlockStoryInfo& story) {
  const auto flag = [](bool set) -> std::uint8_t { return set ? 1 : 0; };
  terrace_block_story shown{};
  shown.block_bytes = story.block_bytes;
  shown.age_ms = static_cast<std::uint64_t>(story.age.count());
  shown.reactor = story.reactor;
  shown.pins = story.pins;
  shown.position = story.position;
  shown.valid_tokens = story.valid_tokens;
  shown.gets = story.gets;
  shown.reason = static_cast<std::uint8_t>(story.reason);
  shown.tiers = story.tiers;
  shown.published = flag(story.published);
  shown.loading = flag(story.loading);
  shown.writing = flag(story.writing);
  shown.kept = flag(story.kept);
  shown.leased = flag(story.leased);
  return shown;
}

/// `count` keys of those lengths, one after the other; no more than are too many for a call.
std::vector<std::span<const std::byte>> KeysOf(const void* keys, const std::uint32_t* key_bytes,
                                               std::uint32_t count) {
  const auto* at = static_cast<const std::byte*>(keys);
  std::vector<std::span<const std::byte>> list;
  for (std::uint32_t i = 0; i < count && i <= terrace::kExplainKeysMax; ++i) {
    list.emplace_back(at, key_bytes[i]);
    at += key_bytes[i];
  }
  return list;
}

/// The name as a literal, which outlives the call.
const char* StaticLinkName(std::string_view name) {
  for (const char* known : {"shm", "tcp", "rdma"}) {
    if (name == known) return known;
  }
  return "none";
}

}  // namespace

extern "C" {

terrace_status terrace_connect(const terrace_client_options* options, terrace_client* client,
                               terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    if (Status status = NotNull(client, "client"); !status.ok()) return status;
    const auto known = ToOptions(options);
    if (!known.ok()) return known.status();
    auto made = Client::Connect(*known);
    if (!made.ok()) return made.status();
    const auto handle = Clients().Add(std::move(*made));
    if (!handle.ok()) return handle.status();
    *client = *handle;
    return {};
  });
}

terrace_status terrace_shutdown(terrace_client client, terrace_error* error) {
  return WithClient(client, error, [](Client& its_client) -> Status {
    its_client.Close();
    return {};
  });
}

terrace_status terrace_close(terrace_client client, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto removed = Clients().Remove(client, "client");
    if (!removed.ok()) return removed.status();
    // Those that are inside are let go; the last of them destroys it.
    (*removed)->Close();
    return {};
  });
}

terrace_status terrace_connected(terrace_client client, uint32_t* connected, terrace_error* error) {
  return WithClient(client, error, [&](const Client& its_client) -> Status {
    if (Status status = NotNull(connected, "connected"); !status.ok()) return status;
    *connected = its_client.Connected() ? 1 : 0;
    return {};
  });
}

terrace_status terrace_reconnects(terrace_client client, uint64_t* count, terrace_error* error) {
  return WithClient(client, error, [&](const Client& its_client) -> Status {
    if (Status status = NotNull(count, "count"); !status.ok()) return status;
    *count = its_client.Reconnects();
    return {};
  });
}

terrace_status terrace_link_name(terrace_client client, const char** name, terrace_error* error) {
  return WithClient(client, error, [&](const Client& its_client) -> Status {
    if (Status status = NotNull(static_cast<const void*>(name), "name"); !status.ok())
      return status;
    *name = StaticLinkName(its_client.LinkName());
    return {};
  });
}

terrace_status terrace_ping(terrace_client client, TERRACE_END_) {
  return WithClient(client, error,
                    [&](Client& its_client) { return its_client.Ping(ToDeadline(deadline)); });
}

terrace_status terrace_stat(terrace_client client, terrace_deadline deadline,
                            terrace_result* result, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    auto samples = its_client.Stat(ToDeadline(deadline));
    if (!samples.ok()) return samples.status();
    return GiveAnswer(std::make_shared<Answer>(std::move(*samples)), result);
  });
}

terrace_status terrace_open_namespace(terrace_client client, const terrace_descriptor* descriptor,
                                      terrace_deadline deadline, terrace_space* space,
                                      terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(space, "space"); !status.ok()) return status;
    const auto known = ToDescriptor(descriptor);
    if (!known.ok()) return known.status();
    const auto opened = its_client.OpenNamespace(*known, ToDeadline(deadline));
    if (!opened.ok()) return opened.status();
    *space = opened->value;
    return {};
  });
}

terrace_status terrace_list_namespaces(terrace_client client, terrace_deadline deadline,
                                       terrace_result* result, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    auto namespaces = its_client.ListNamespaces(ToDeadline(deadline));
    if (!namespaces.ok()) return namespaces.status();
    return GiveAnswer(std::make_shared<Answer>(std::move(*namespaces)), result);
  });
}

terrace_status terrace_explain(terrace_client client, const char* space, terrace_kind kind,
                               const void* keys, const uint32_t* key_bytes, uint32_t count,
                               terrace_deadline deadline, terrace_block_story* stories,
                               terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(space, "space"); !status.ok()) return status;
    if (Status status = NotNull(keys, "keys"); !status.ok()) return status;
    if (Status status = NotNull(key_bytes, "key_bytes"); !status.ok()) return status;
    if (Status status = NotNull(stories, "stories"); !status.ok()) return status;
    const std::vector<std::span<const std::byte>> list = KeysOf(keys, key_bytes, count);
    const auto told = its_client.Explain({.space = space, .block = ToKind(kind), .keys = list},
                                         ToDeadline(deadline));
    if (!told.ok()) return told.status();
    std::transform(told->begin(), told->end(), stories, FromStory);
    return {};
  });
}

terrace_status terrace_clear_namespace(terrace_client client, const char* name,
                                       terrace_deadline deadline, uint64_t* blocks,
                                       terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(name, "name"); !status.ok()) return status;
    if (Status status = NotNull(blocks, "blocks"); !status.ok()) return status;
    return GiveCount(its_client.ClearNamespace(name, ToDeadline(deadline)), blocks);
  });
}

terrace_status terrace_register_memory(terrace_client client, void* base, uint64_t length,
                                       terrace_region* region, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(region, "region"); !status.ok()) return status;
    return GiveRegion(its_client.RegisterMemory(base, length), region);
  });
}

terrace_status terrace_register_device_memory(terrace_client client, void* base, uint64_t length,
                                              terrace_deadline deadline, terrace_region* region,
                                              terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(region, "region"); !status.ok()) return status;
    return GiveRegion(its_client.RegisterDeviceMemory(base, length, ToDeadline(deadline)), region);
  });
}

terrace_status terrace_allocate_region(terrace_client client, uint64_t length,
                                       terrace_region* region, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(region, "region"); !status.ok()) return status;
    return GiveRegion(its_client.AllocateRegion(length), region);
  });
}

terrace_status terrace_submit_register_memory(terrace_client client, void* base, uint64_t length,
                                              terrace_ticket* ticket, terrace_error* error) {
  return SubmitTo(client, ticket, error, [&](Client& its_client) {
    return its_client.SubmitRegisterMemory(base, length);
  });
}

terrace_status terrace_submit_allocate_region(terrace_client client, uint64_t length,
                                              terrace_ticket* ticket, terrace_error* error) {
  return SubmitTo(client, ticket, error,
                  [&](Client& its_client) { return its_client.SubmitAllocateRegion(length); });
}

terrace_status terrace_region_memory(terrace_client client, terrace_region region, void** base,
                                     uint64_t* length, terrace_error* error) {
  return WithClient(client, error, [&](const Client& its_client) -> Status {
    if (Status status = NotNull(static_cast<const void*>(base), "base"); !status.ok())
      return status;
    const auto memory = its_client.RegionMemory({region});
    if (memory.empty()) {
      return Status::Invalid("region is " + std::to_string(region) +
                             ", which this client does not have");
    }
    *base = memory.data();
    if (length != nullptr) *length = memory.size();
    return {};
  });
}

terrace_status terrace_deregister_memory(terrace_client client, terrace_region region,
                                         terrace_error* error) {
  return WithClient(client, error,
                    [&](Client& its_client) { return its_client.DeregisterMemory({region}); });
}

terrace_status terrace_quiesce(terrace_client client, terrace_region region, TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) {
    return its_client.Quiesce({region}, ToDeadline(deadline));
  });
}

terrace_status terrace_poll(terrace_client client, terrace_result* results, uint64_t capacity,
                            uint64_t* count, terrace_error* error) {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(count, "count"); !status.ok()) return status;
    if (Status status = NotNullUnless(capacity == 0, results, "results"); !status.ok()) {
      return status;
    }
    const std::uint64_t room = Answers().Room();  // so that no completion is taken and lost
    if (room == 0) return Status(terrace::StatusCode::kRetry, "too many results were never freed");
    auto completions = its_client.Poll(std::min({capacity, kPollMax, room}));
    *count = 0;
    for (terrace::Completion& completion : completions) {
      auto answer = std::make_shared<Answer>(std::move(completion));
      if (Status status = GiveAnswer(std::move(answer), results + *count); !status.ok()) {
        return status;
      }
      ++*count;
    }
    return {};
  });
}

terrace_status terrace_wait_for_completion(terrace_client client, TERRACE_END_) {
  return WithClient(client, error, [&](Client& its_client) {
    return its_client.WaitForCompletion(ToDeadline(deadline));
  });
}

terrace_status terrace_completion_fd(terrace_client client, int* fd, terrace_error* error) {
  return WithClient(client, error, [&](const Client& its_client) -> Status {
    if (Status status = NotNull(fd, "fd"); !status.ok()) return status;
    *fd = its_client.CompletionFd();
    return {};
  });
}

}  // extern "C"

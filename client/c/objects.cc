// terrace.h: versions and names, chains, results.
#include <string>
#include <utility>

#include "client/c/call.h"
#include "client/c/convert.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using terrace::Chain;
using terrace::Result;
using terrace::Status;

namespace {

/// Runs `change(copy)` on a copy of the chain, which takes its place when that ends well. Calls
/// under way keep the old one: nobody can tell when the last of them has stopped reading it.
template <typename Change>
terrace_status ChangeChain(terrace_chain handle, terrace_error* error, Change change) noexcept {
  return Guarded(error, [&]() -> Status {
    Result<std::shared_ptr<Chain>> taken = Chains().Take(handle, "chain");
    if (!taken.ok()) return taken.status();
    std::shared_ptr<Chain> chain = std::move(*taken);
    // However this ends, the handle means a chain again.
    struct Return {
      terrace_chain handle;
      std::shared_ptr<Chain>& chain;
      ~Return() { Chains().PutBack(handle, std::move(chain)); }
    } const put_back{handle, chain};
    auto changed = std::make_shared<Chain>(*chain);
    if (Status status = change(*changed); !status.ok()) return status;
    chain = std::move(changed);
    return {};
  });
}

/// Appends keys, `length(i)` bytes each.
template <typename Length>
Status AppendAll(Chain& chain, const void* keys, std::uint32_t count, Length length) {
  const auto* at = static_cast<const std::byte*>(keys);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t bytes = length(i);
    if (Status status = chain.Append({at, bytes}); !status.ok()) return status;
    at += bytes;
  }
  return {};
}

}  // namespace

extern "C" {

uint32_t terrace_abi_version(void) { return TERRACE_ABI_VERSION; }

const char* terrace_version(void) { return TERRACE_VERSION_TEXT; }

// The names are literals: their views end with a zero byte.
const char* terrace_status_name(terrace_status status) {
  if (status < 0 || status >= terrace::kStatusCodeCount) return "unknown";
  return terrace::StatusCodeName(static_cast<terrace::StatusCode>(status)).data();
}

const char* terrace_tier_name(uint8_t tier) {
  if (tier > TERRACE_TIER_NVME) return "unknown";
  return terrace::TierName(static_cast<terrace::Tier>(tier)).data();
}

const char* terrace_not_durable_name(uint8_t reason) {
  return terrace::NotDurableName(static_cast<terrace::NotDurable>(reason)).data();
}

const char* terrace_miss_reason_name(uint8_t reason) {
  return terrace::MissReasonName(static_cast<terrace::MissReason>(reason)).data();
}

terrace_deadline terrace_in_us(uint64_t microseconds) {
  constexpr uint64_t kMost = uint64_t{3600} * 1000 * 1000;  // a deadline counts as an hour at most
  const auto time = std::chrono::microseconds(microseconds < kMost ? microseconds : kMost);
  return std::chrono::nanoseconds(terrace::In(time).time_since_epoch()).count();
}

terrace_deadline terrace_in_ms(uint64_t milliseconds) {
  constexpr uint64_t kMost = uint64_t{3600} * 1000;
  return terrace_in_us(1000 * (milliseconds < kMost ? milliseconds : kMost));
}

terrace_status terrace_chain_new(terrace_chain* chain, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    if (Status status = NotNull(chain, "chain"); !status.ok()) return status;
    const auto handle = Chains().Add(std::make_shared<Chain>());
    if (!handle.ok()) return handle.status();
    *chain = *handle;
    return {};
  });
}

terrace_status terrace_chain_append(terrace_chain chain, const void* keys, uint32_t key_bytes,
                                    uint32_t count, terrace_error* error) {
  return ChangeChain(chain, error, [&](Chain& its_chain) -> Status {
    if (Status status = NotNullUnless(count == 0, keys, "keys"); !status.ok()) return status;
    return AppendAll(its_chain, keys, count, [=](uint32_t) { return key_bytes; });
  });
}

terrace_status terrace_chain_append_each(terrace_chain chain, const void* keys,
                                         const uint32_t* key_bytes, uint32_t count,
                                         terrace_error* error) {
  return ChangeChain(chain, error, [&](Chain& its_chain) -> Status {
    if (Status status = NotNullUnless(count == 0, keys, "keys"); !status.ok()) return status;
    if (Status status = NotNullUnless(count == 0, key_bytes, "key_bytes"); !status.ok()) {
      return status;
    }
    return AppendAll(its_chain, keys, count, [=](uint32_t i) { return key_bytes[i]; });
  });
}

terrace_status terrace_chain_hint(terrace_chain chain, const terrace_hints* hints,
                                  terrace_error* error) {
  return ChangeChain(chain, error, [hints](Chain& its_chain) -> Status {
    const auto known = ToHints(hints);
    return known.ok() ? its_chain.SetHints(*known) : known.status();
  });
}

terrace_status terrace_chain_clear(terrace_chain chain, terrace_error* error) {
  return ChangeChain(chain, error, [](Chain& its_chain) -> Status {
    its_chain.clear();
    return {};
  });
}

terrace_status terrace_chain_size(terrace_chain chain, uint32_t* size, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto found = Chains().Find(chain, "chain");
    if (!found.ok()) return found.status();
    if (Status status = NotNull(size, "size"); !status.ok()) return status;
    *size = (*found)->size();
    return {};
  });
}

terrace_status terrace_chain_free(terrace_chain chain, terrace_error* error) {
  return Guarded(error, [&] { return Chains().Remove(chain, "chain").status(); });
}

terrace_status terrace_result_answer(terrace_result result, terrace_answer* answer,
                                     terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto found = Answers().Find(result, "result");
    if (!found.ok()) return found.status();
    return FillAnswer((*found)->view(), answer);
  });
}

terrace_status terrace_lent_intact(terrace_result result, uint64_t index, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto found = Answers().Find(result, "result");
    if (!found.ok()) return found.status();
    return (*found)->LentIntact(index);
  });
}

terrace_status terrace_lent_release(terrace_result result, uint64_t index, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto found = Answers().Find(result, "result");
    if (!found.ok()) return found.status();
    return (*found)->LentRelease(index);
  });
}

terrace_status terrace_result_free(terrace_result result, terrace_error* error) {
  return Guarded(error, [&] { return Answers().Remove(result, "result").status(); });
}

}  // extern "C"

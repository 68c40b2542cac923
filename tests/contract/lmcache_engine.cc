#include "tests/contract/lmcache_engine.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

namespace terrace::contract {
namespace {

constexpr std::byte kGuard{0xa5};
constexpr std::byte kPoison{0xdb};
constexpr std::chrono::seconds kPatience{60};  // longer than anything here takes

/// Keys of a chain, and what points to them.
struct Keys {
  Keys(std::uint32_t chain, std::uint32_t first, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      texts.push_back(crash::KeyOf(chain, first + static_cast<std::uint32_t>(i)));
    }
    for (const std::string& text : texts) {
      keys.push_back({text.data(), static_cast<std::uint32_t>(text.size())});
    }
  }
  std::vector<std::string> texts;
  std::vector<lmc_key> keys;
};

crash::BlockName NameOf(std::uint32_t chain, std::uint32_t position) {
  return {.store = 6, .space = 0, .chain = chain, .position = position};
}

}  // namespace

std::string Bits(const lmc_completion& completion) {
  std::string bits;
  for (std::uint32_t i = 0; i < completion.count; ++i) {
    bits += completion.bits[i] != 0 ? '1' : '0';
  }
  return bits;
}

LmcacheEngine::LmcacheEngine(const Options& options)
    : bytes_(kGuardBytes + options.views * (kBlockBytes + kGuardBytes)), views_(options.views) {
  memory_ = std::make_unique<std::byte[]>(bytes_);
  std::fill_n(memory_.get(), bytes_, kGuard);
  for (std::size_t view = 0; view < views_; ++view) Poison(view);
  const lmc_options plugin{.address = options.address.c_str(),
                           .block_bytes = kBlockBytes,
                           .pool = memory_.get(),
                           .pool_bytes = bytes_,
                           .connect_ms = 60'000,
                           .operation_ms = static_cast<std::uint32_t>(options.operation.count())};
  std::array<char, 160> error{};
  plugin_ = lmc_open(&plugin, error.data());
  error_ = error.data();
}

LmcacheEngine::~LmcacheEngine() {
  if (plugin_ != nullptr) lmc_close(plugin_);
}

std::span<std::byte> LmcacheEngine::View(std::size_t view) const {
  return {memory_.get() + kGuardBytes + view * (kBlockBytes + kGuardBytes), kBlockBytes};
}

LmcacheEngine::Views LmcacheEngine::Range(std::size_t first, std::size_t count) {
  Views views(count);
  std::iota(views.begin(), views.end(), first);
  return views;
}

// ---- submitting ----

std::uint64_t LmcacheEngine::Submitted(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (id != 0 && early_.erase(id) == 0) under_way_.insert(id);
  return id;
}

std::uint64_t LmcacheEngine::Get(std::uint32_t chain, std::uint32_t first, const Views& views) {
  const Keys keys(chain, first, views.size());
  std::vector<void*> places;
  places.reserve(views.size());
  for (const std::size_t view : views) places.push_back(View(view).data());
  return Submitted(lmc_submit_batch_get(plugin_, keys.keys.data(), places.data(),
                                        static_cast<std::uint32_t>(places.size())));
}

std::uint64_t LmcacheEngine::Set(std::uint32_t chain, std::uint32_t first, const Views& views) {
  const Keys keys(chain, first, views.size());
  std::vector<void*> places;
  places.reserve(views.size());
  for (const std::size_t view : views) places.push_back(View(view).data());
  return Submitted(lmc_submit_batch_set(plugin_, keys.keys.data(), places.data(),
                                        static_cast<std::uint32_t>(places.size())));
}

std::uint64_t LmcacheEngine::Exists(std::uint32_t chain, std::uint32_t first, std::uint32_t count) {
  const Keys keys(chain, first, count);
  return Submitted(lmc_submit_batch_exists(plugin_, keys.keys.data(), count));
}

std::uint64_t LmcacheEngine::Delete(std::uint32_t chain, std::uint32_t first, std::uint32_t count) {
  const Keys keys(chain, first, count);
  return Submitted(lmc_submit_batch_delete(plugin_, keys.keys.data(), count));
}

std::uint64_t LmcacheEngine::Lookup(std::uint32_t chain, std::uint32_t count, int trim,
                                    std::chrono::milliseconds ttl) {
  const Keys keys(chain, 0, count);
  return Submitted(lmc_submit_lookup_and_lock(plugin_, keys.keys.data(), count, trim,
                                              static_cast<std::uint32_t>(ttl.count())));
}

// ---- draining ----

bool LmcacheEngine::Readable(std::chrono::milliseconds limit) const {
  pollfd readable{.fd = lmc_event_fd(plugin_), .events = POLLIN, .revents = 0};
  return ::poll(&readable, 1, static_cast<int>(limit.count())) == 1;
}

std::size_t LmcacheEngine::Drain() {
  std::array<lmc_completion, 8> some;
  std::size_t drained = 0;
  for (;;) {
    const std::size_t count = lmc_drain_completions(plugin_, some.data(), some.size());
    drained += count;
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t id = some[i].id;
      EXPECT_TRUE(arrived_.emplace(id, some[i]).second) << "drained twice: " << id;
      if (under_way_.erase(id) == 0) early_.insert(id);
    }
    if (count < some.size()) return drained;
  }
}

lmc_completion LmcacheEngine::Wait(std::uint64_t id) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (id != 0 && !arrived_.contains(id) && std::chrono::steady_clock::now() < end) {
    if (Readable(std::chrono::seconds(1))) Drain();
  }
  if (arrived_.contains(id)) return arrived_.at(id);
  lmc_completion none{};
  (void)std::snprintf(none.error, sizeof none.error, "%s",
                      id == 0 ? "was not taken" : "never came");
  return none;
}

bool LmcacheEngine::WaitForAll() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    Drain();
    {
      const std::lock_guard lock(mutex_);
      if (under_way_.empty()) return early_.empty();
    }
    (void)Readable(std::chrono::milliseconds(100));
  }
  return false;
}

// ---- the oracle ----

void LmcacheEngine::Fill(std::size_t view, std::uint32_t chain, std::uint32_t position) {
  crash::FillBlock(NameOf(chain, position), 1, View(view));
}

void LmcacheEngine::Poison(std::size_t view) { std::ranges::fill(View(view), kPoison); }

bool LmcacheEngine::Holds(std::size_t view, std::uint32_t chain, std::uint32_t position) const {
  return crash::VersionOf(NameOf(chain, position), View(view)).ok();
}

bool LmcacheEngine::Poisoned(std::size_t view) const {
  return std::ranges::all_of(View(view), [](std::byte byte) { return byte == kPoison; });
}

bool LmcacheEngine::GuardsHold() const {
  for (std::size_t view = 0; view <= views_; ++view) {
    const std::byte* guard = memory_.get() + view * (kBlockBytes + kGuardBytes);
    if (!std::all_of(guard, guard + kGuardBytes, [](std::byte byte) { return byte == kGuard; })) {
      return false;
    }
  }
  return true;
}

}  // namespace terrace::contract

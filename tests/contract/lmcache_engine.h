// LmcacheEngine: a stub of LMCache's side of a native plugin: host memory cut in views, an oracle
// of what each block must hold, and a loop that waits on the plugin's descriptor and drains it.
//
// An id that is drained twice, or that nobody submitted, fails the test at once; one that never
// comes fails whoever waits for it. Views lie between guards.
//
// Thread: Submit... and the accessors of views: any. Drain and Wait: one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "tests/common/block_content.h"
#include "tests/contract/lmcache_plugin.h"

namespace terrace::contract {

/// What a bit per key says: "1101".
std::string Bits(const lmc_completion& completion);

class LmcacheEngine {
 public:
  static constexpr std::size_t kBlockBytes = 16 << 10;
  static constexpr std::size_t kGuardBytes = 64;
  struct Options {
    std::string address;
    std::size_t views = 256;
    std::chrono::milliseconds operation{20'000};
  };

  /// Connects; valid() is false when that failed, and error() says why.
  explicit LmcacheEngine(const Options& options);
  ~LmcacheEngine();
  LmcacheEngine(const LmcacheEngine&) = delete;
  LmcacheEngine& operator=(const LmcacheEngine&) = delete;
  [[nodiscard]] bool valid() const noexcept { return plugin_ != nullptr; }
  [[nodiscard]] const std::string& error() const noexcept { return error_; }
  [[nodiscard]] lmc_plugin* plugin() const noexcept { return plugin_; }

  /// Keys [first, first + count) of a chain; view i is that of key i of the call.
  using Views = std::vector<std::size_t>;
  std::uint64_t Get(std::uint32_t chain, std::uint32_t first, const Views& views);
  std::uint64_t Set(std::uint32_t chain, std::uint32_t first, const Views& views);
  std::uint64_t Exists(std::uint32_t chain, std::uint32_t first, std::uint32_t count);
  std::uint64_t Delete(std::uint32_t chain, std::uint32_t first, std::uint32_t count);
  std::uint64_t Lookup(std::uint32_t chain, std::uint32_t count, int trim,
                       std::chrono::milliseconds ttl);

  /// Waits until that id has come. A completion of id 0 and an error when it does not in time.
  lmc_completion Wait(std::uint64_t id);
  /// Waits until everything that was submitted has come.
  bool WaitForAll();
  /// Takes what is there; how many.
  std::size_t Drain();
  /// Something is there to drain, now or within the time.
  [[nodiscard]] bool Readable(std::chrono::milliseconds limit) const;

  void Fill(std::size_t view, std::uint32_t chain, std::uint32_t position);
  void Poison(std::size_t view);
  [[nodiscard]] bool Holds(std::size_t view, std::uint32_t chain, std::uint32_t position) const;
  [[nodiscard]] bool Poisoned(std::size_t view) const;
  [[nodiscard]] bool GuardsHold() const;
  /// 0, 1, 2, ...: so many views from `first` on.
  static Views Range(std::size_t first, std::size_t count);

 private:
  [[nodiscard]] std::span<std::byte> View(std::size_t view) const;
  std::uint64_t Submitted(std::uint64_t id);

  std::unique_ptr<std::byte[]> memory_;
  std::size_t bytes_ = 0;
  std::size_t views_ = 0;
  lmc_plugin* plugin_ = nullptr;
  std::string error_;
  std::mutex mutex_;
  std::set<std::uint64_t> under_way_;                // under the mutex
  std::map<std::uint64_t, lmc_completion> arrived_;  // of the draining thread
  std::set<std::uint64_t> early_;  // drained before Submit had its id; the mutex's
};

}  // namespace terrace::contract

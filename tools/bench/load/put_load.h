// PutLoad: another client that puts to durable as fast as it can, from a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/terrace.hpp"

namespace terrace::bench {

class PutLoad {
 public:
  /// Connects; idle until Start. Blocks of `block_bytes`, kDepth in flight.
  PutLoad(const std::string& address, std::uint64_t block_bytes);
  /// REQUIRES: stopped.
  ~PutLoad();
  PutLoad(const PutLoad&) = delete;
  PutLoad& operator=(const PutLoad&) = delete;

  /// Returns 100 ms after it began, when it runs at full speed.
  void Start();
  /// Returns once nothing is in flight.
  void Stop();

  /// While it was running, over all its runs; read while stopped.
  [[nodiscard]] std::uint64_t durable_bytes() const noexcept { return durable_bytes_; }
  [[nodiscard]] double seconds() const noexcept { return seconds_; }
  [[nodiscard]] std::uint64_t declined() const noexcept { return declined_; }

 private:
  void Run();

  const std::uint64_t block_bytes_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  std::vector<BlockBuffer> blocks_;
  std::uint64_t pass_ = 0;  // of the chain's blocks: each has other keys
  std::uint64_t durable_bytes_ = 0;
  std::uint64_t declined_ = 0;
  double seconds_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace terrace::bench

// What the tests of every DeviceMemory have: one made by the test's parameter, a reactor that
// drives it, and pinned host memory.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checksum.h"
#include "base/random.h"
#include "base/reactor.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

/// Makes the memory that is tested. kUnsupported skips the test.
struct DeviceMemoryKind {
  const char* name;
  Result<std::unique_ptr<DeviceMemory>> (*make)();
};

/// Of whole pages, so that it can be pinned.
class HostPages {
 public:
  explicit HostPages(std::size_t bytes) : bytes_(bytes) {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TERRACE_CHECK(memory != MAP_FAILED);
    memory_ = static_cast<std::byte*>(memory);
  }
  ~HostPages() { ::munmap(memory_, bytes_); }
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;
  [[nodiscard]] std::span<std::byte> all() const noexcept { return {memory_, bytes_}; }
  [[nodiscard]] std::span<std::byte> part(std::size_t from, std::size_t bytes) const {
    return all().subspan(from, bytes);
  }

 private:
  std::byte* memory_ = nullptr;
  std::size_t bytes_;
};

inline void FillRandom(std::span<std::byte> bytes, std::uint64_t seed) {
  SeededRandom random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next());
}

inline std::vector<std::uint64_t> HostChecksums(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(bytes.size()));
  ChecksumBlock(bytes, checksums);
  return checksums;
}

class DeviceMemoryTest : public ::testing::TestWithParam<DeviceMemoryKind> {
 protected:
  static constexpr std::size_t kHostBytes = std::size_t{32} << 20;
  static constexpr std::size_t kPoolBytes = std::size_t{24} << 20;

  void SetUp() override {
    auto made = GetParam().make();
    if (made.code() == StatusCode::kUnsupported) GTEST_SKIP() << made.status().ToString();
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    memory_ = std::move(made).value();
    ASSERT_TRUE(memory_->RegisterHost(host_.all()).ok());
    const auto pool = memory_->Allocate(kPoolBytes);
    ASSERT_TRUE(pool.ok()) << pool.status().ToString();
    pool_ = pool.value();
  }
  void TearDown() override {
    if (pool_ != 0) memory_->Free(pool_);
    if (memory_ != nullptr && memory_->State().ok()) memory_->DeregisterHost(host_.all());
  }

  static Task<void> ThenStop(Task<void> task, Reactor* reactor) {
    co_await std::move(task);
    reactor->Stop();
  }
  /// Runs the task to its end on a reactor that the memory's poller is part of.
  void Run(Task<void> task, ReactorOptions options = {}) {
    auto reactor = Reactor::Create(std::move(options), clock_);
    ASSERT_TRUE(reactor.ok()) << reactor.status().ToString();
    reactor.value()->AddPoller(memory_->poller());
    TaskScope scope;
    {
      const Scheduler::CurrentScope current(reactor.value()->scheduler());
      scope.Spawn(ThenStop(std::move(task), reactor.value().get()));
    }
    reactor.value()->Run();
    reactor.value()->RemovePoller(memory_->poller());
  }

  SteadyClock clock_;
  HostPages host_{kHostBytes};
  std::unique_ptr<DeviceMemory> memory_;
  DeviceAddress pool_ = 0;
};

inline std::string KindName(const ::testing::TestParamInfo<DeviceMemoryKind>& info) {
  return info.param.name;
}

}  // namespace terrace

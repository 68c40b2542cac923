// ClientFixture: what the tests of the whole client share.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/terrace.hpp"
#include "tests/client/fake_daemon.h"
#include "tests/common/wait_until_connected.h"

namespace terrace {

using namespace std::chrono_literals;

constexpr std::uint64_t kBlockBytes = 64 << 10;
/// Longer than any call of these tests should take, on any machine.
inline Deadline Soon() { return In(20s); }

inline NamespaceDescriptor SpaceNamed(std::string name) {
  NamespaceDescriptor descriptor;
  descriptor.name = std::move(name);
  descriptor.model = "test";
  descriptor.block_tokens = 16;
  descriptor.run_blocks = 4;
  descriptor.shard_count = 2;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
  return descriptor;
}

inline std::unique_ptr<Client> ConnectTo(const std::string& address,
                                         std::chrono::milliseconds timeout = 20s) {
  ClientOptions options;
  options.address = address;
  options.name = "test";
  options.connect_timeout = timeout;
  auto client = Client::Connect(options);
  EXPECT_TRUE(client.ok()) << client.status().ToString();
  return client.ok() ? std::move(client.value()) : nullptr;
}

inline Chain ChainNamed(const std::string& name, std::uint32_t keys) {
  Chain chain;
  for (std::uint32_t i = 0; i < keys; ++i) {
    EXPECT_TRUE(chain.Append(name + " " + std::to_string(i)).ok());
  }
  return chain;
}

/// Memory for blocks of one region, filled by a function of a name and the position.
class BlockMemory {
 public:
  BlockMemory(Client& client, std::uint32_t blocks) : bytes_(blocks * kBlockBytes) {
    region_ = client.RegisterMemory(bytes_.data(), bytes_.size()).value();
  }
  [[nodiscard]] RegionId region() const noexcept { return region_; }
  [[nodiscard]] std::vector<BlockBuffer> All() const {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < bytes_.size() / kBlockBytes; ++i) blocks.push_back(At(i));
    return blocks;
  }
  [[nodiscard]] BlockBuffer At(std::uint32_t position) const {
    return {.position = position,
            .region = region_,
            .offset = position * kBlockBytes,
            .valid_tokens = 0};
  }
  void Fill(std::uint32_t salt) {
    for (std::size_t i = 0; i < bytes_.size(); i += sizeof(std::uint64_t)) {
      const std::uint64_t word = Word(salt, i);
      std::memcpy(bytes_.data() + i, &word, sizeof word);
    }
  }
  void Poison() { std::memset(bytes_.data(), 0xee, bytes_.size()); }
  [[nodiscard]] bool Holds(std::uint32_t salt, std::uint32_t position) const {
    for (std::size_t i = position * kBlockBytes; i < (position + 1) * kBlockBytes;
         i += sizeof(std::uint64_t)) {
      const std::uint64_t word = Word(salt, i);
      if (std::memcmp(bytes_.data() + i, &word, sizeof word) != 0) return false;
    }
    return true;
  }

 private:
  static std::uint64_t Word(std::uint32_t salt, std::size_t offset) {
    return (offset + 1) * 0x9e3779b97f4a7c15U + salt;
  }
  std::vector<std::byte> bytes_;
  RegionId region_;
};

using testing::WaitUntilConnected;

inline void ExpectCodes(const Result<std::vector<BlockResult>>& result, StatusCode code) {
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  for (std::size_t i = 0; i < result->size(); ++i) {
    EXPECT_EQ(result.value()[i].status, code) << "block " << i;
  }
}

}  // namespace terrace

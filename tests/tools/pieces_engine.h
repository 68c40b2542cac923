// An engine for tests of pieces and fragments: a client with blocks whose bytes say who they are.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "client/terrace.hpp"

namespace terrace::testing {

inline constexpr std::uint64_t kTokens = 16;
inline constexpr std::uint64_t kTokenBytes = 33 * 1024;  // 8 heads of 4,224 bytes
inline constexpr std::uint64_t kBlockBytes = kTokens * kTokenBytes;
inline constexpr std::uint32_t kBlocks = 12;
inline constexpr std::uint64_t kRegionBytes = 2 * kBlocks * kBlockBytes;

inline Deadline Soon() { return In(std::chrono::seconds(30)); }

enum class Memory { kAllocated, kRegistered };
struct Way {
  LinkChoice link;
  Memory memory;
  std::string name;
};

/// A client with memory for all blocks twice: the blocks, and where they are got to.
class Engine {
 public:
  Engine(const std::string& address, LinkChoice link, Memory memory,
         const std::string& tenant = "default") {
    auto client = Client::Connect({.address = address,
                                   .tenant = tenant,
                                   .name = "engine",
                                   .link = link,
                                   .connect_timeout = std::chrono::seconds(20)});
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(client.value());
    NamespaceDescriptor descriptor;
    descriptor.name = "pieces";
    descriptor.model = "test";
    descriptor.block_tokens = kTokens;
    descriptor.run_blocks = 1;  // so that both reactors have some
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
    space_ = client_->OpenNamespace(descriptor, Soon()).value();
    if (memory == Memory::kAllocated) {
      region_ = client_->AllocateRegion(kRegionBytes).value();
    } else {
      own_.resize(kRegionBytes);
      region_ = client_->RegisterMemory(own_.data(), own_.size()).value();
    }
    memory_ = client_->RegionMemory(region_);
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(chain_.Append("block/" + std::to_string(i)).ok());
      FillBlock(i);
    }
  }
  static std::byte ByteOf(std::uint32_t block, std::uint64_t at) {
    return static_cast<std::byte>((at * 0x9e3779b97f4a7c15ULL + block * 0xff51afd7ed558ccdULL) >>
                                  40);
  }
  /// All of them, made once.
  static std::span<const std::byte> BytesOf(std::uint32_t block) {
    static const std::vector<std::byte> all = [] {
      std::vector<std::byte> bytes(kBlocks * kBlockBytes);
      for (std::uint64_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = ByteOf(static_cast<std::uint32_t>(i / kBlockBytes), i % kBlockBytes);
      }
      return bytes;
    }();
    return std::span(all).subspan(block * kBlockBytes, kBlockBytes);
  }
  /// Whether these are the bytes of the block from `at` on.
  static bool Holds(std::span<const std::byte> found, std::uint32_t block, std::uint64_t at) {
    return std::memcmp(found.data(), BytesOf(block).subspan(at).data(), found.size()) == 0;
  }
  void FillBlock(std::uint32_t block) {
    std::memcpy(&memory_[block * kBlockBytes], BytesOf(block).data(), kBlockBytes);
  }
  void FillDestination(std::byte byte) const {
    std::memset(Destination().data(), std::to_integer<int>(byte), Destination().size());
  }
  void PutAll() {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      blocks.push_back({.position = i, .region = region_, .offset = i * kBlockBytes});
    }
    const auto results = client_->Put(space_, chain_, blocks, {}, Soon());
    ASSERT_TRUE(results.ok()) << results.status().ToString();
    for (const BlockResult& result : *results) ASSERT_EQ(result.status, StatusCode::kOk);
  }
  /// Whole blocks come back as they are named.
  void ExpectStored(std::uint32_t block) {
    FillDestination(std::byte{0});
    const BlockBuffer buffer{.position = block, .region = region_, .offset = kBlocks * kBlockBytes};
    const auto got = client_->Get(space_, chain_, {&buffer, 1}, {}, Soon());
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ASSERT_EQ(got->front().status, StatusCode::kOk);
    ASSERT_TRUE(Holds(Destination().first(kBlockBytes), block, 0)) << "block " << block;
  }
  [[nodiscard]] std::span<std::byte> Destination() const {
    return memory_.subspan(kBlocks * kBlockBytes);
  }
  [[nodiscard]] MemoryPiece At(std::uint64_t offset, std::uint64_t length) const {
    return {region_, offset, length};
  }
  [[nodiscard]] MemoryPiece InDestination(std::uint64_t offset, std::uint64_t length) const {
    return {region_, kBlocks * kBlockBytes + offset, length};
  }

  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
  Chain chain_;
  std::vector<std::byte> own_;
  std::span<std::byte> memory_;
};

}  // namespace terrace::testing

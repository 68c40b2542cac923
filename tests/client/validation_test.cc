#include "client/calls/validation.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace terrace {
namespace {

void ExpectInvalid(const Status& status, const std::string& named) {
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_NE(status.message().find(named), std::string::npos)
      << "the message must name " << named << ": " << status.message();
}

NamespaceDescriptor Good() {
  NamespaceDescriptor descriptor;
  descriptor.name = "space";
  descriptor.block_tokens = 16;
  descriptor.shard_count = 2;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = 4096},
                       {.id = 1, .attention = "state", .block_bytes = 64 << 20}};
  return descriptor;
}

TEST(Validation, DescriptorErrorsNameTheField) {
  ASSERT_TRUE(ValidateDescriptor(Good()).ok());
  const struct {
    const char* named;
    std::function<void(NamespaceDescriptor&)> spoil;
  } cases[] = {
      {"name", [](auto& it) { it.name.clear(); }},
      {"name", [](auto& it) { it.name.assign(129, 'n'); }},
      {"model", [](auto& it) { it.model.assign(1025, 'm'); }},
      {"weights", [](auto& it) { it.weights.assign(1025, 'm'); }},
      {"kv_dtype", [](auto& it) { it.kv_dtype.assign(1025, 'm'); }},
      {"layout", [](auto& it) { it.layout.assign(1025, 'm'); }},
      {"hash_algorithm", [](auto& it) { it.hash_algorithm.assign(1025, 'm'); }},
      {"hash_seed", [](auto& it) { it.hash_seed.assign(1025, 'm'); }},
      {"block_tokens", [](auto& it) { it.block_tokens = 0; }},
      {"shard_count", [](auto& it) { it.shard_count = 0; }},
      {"shard_count", [](auto& it) { it.shard_count = 4097; }},
      {"run_blocks", [](auto& it) { it.run_blocks = 0; }},
      {"run_blocks", [](auto& it) { it.run_blocks = 4097; }},
      {"groups", [](auto& it) { it.groups.clear(); }},
      {"groups", [](auto& it) { it.groups.resize(65); }},
      {"groups[1].id", [](auto& it) { it.groups[1].id = 0; }},
      {"groups[0].block_bytes", [](auto& it) { it.groups[0].block_bytes = 4095; }},
      {"groups[1].block_bytes", [](auto& it) { it.groups[1].block_bytes = (64 << 20) + 1; }},
      {"groups[1].attention", [](auto& it) { it.groups[1].attention.clear(); }},
  };
  for (const auto& [named, spoil] : cases) {
    NamespaceDescriptor descriptor = Good();
    spoil(descriptor);
    ExpectInvalid(ValidateDescriptor(descriptor), named);
  }
}

TEST(Validation, OptionErrorsNameTheOption) {
  ASSERT_TRUE(ValidateOptions({}).ok());
  ExpectInvalid(ValidateOptions({.address = "nowhere"}), "address");
  ExpectInvalid(ValidateOptions({.tenant = ""}), "tenant");
  ExpectInvalid(ValidateOptions({.tenant = std::string(129, 't')}), "tenant");
  ExpectInvalid(ValidateOptions({.name = std::string(129, 't')}), "name");
  ExpectInvalid(ValidateOptions({.link = static_cast<LinkChoice>(9)}), "link");
  ExpectInvalid(ValidateOptions({.spin = std::chrono::microseconds(1'000'001)}), "spin");
  ExpectInvalid(ValidateOptions({.spin = std::chrono::microseconds(-1)}), "spin");
  ExpectInvalid(ValidateOptions({.connect_timeout = std::chrono::milliseconds(0)}),
                "connect_timeout");
}

TEST(Validation, BlockErrorsNameTheBlock) {
  Chain chain;
  ExpectInvalid(ValidateChain(Good(), chain, {}), "chain is empty");
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(chain.Append(key).ok());
  ASSERT_TRUE(ValidateChain(Good(), chain, {.group = 1, .shard = 1}).ok());
  ExpectInvalid(ValidateChain(Good(), chain, {.group = 0, .shard = 2}), "kind.shard");
  ExpectInvalid(ValidateChain(Good(), chain, {.group = 2, .shard = 0}), "kind.group");

  std::vector<BlockBuffer> blocks(3);
  for (std::uint32_t i = 0; i < 3; ++i) blocks[i].position = 2 - i;
  ASSERT_TRUE(ValidateBlocks(Good(), chain, blocks).ok());
  ExpectInvalid(ValidateBlocks(Good(), chain, {}), "number of blocks");
  blocks[2].position = 3;
  ExpectInvalid(ValidateBlocks(Good(), chain, blocks), "blocks[2].position is 3");
  blocks[2].position = 2;
  ExpectInvalid(ValidateBlocks(Good(), chain, blocks), "blocks[2].position 2 was named before");
  blocks[2].position = 0;
  blocks[1].valid_tokens = 17;
  ExpectInvalid(ValidateBlocks(Good(), chain, blocks), "blocks[1].valid_tokens");
}

TEST(Validation, OnlyLevelsThatExistMayBeAskedFor) {
  EXPECT_TRUE(ValidateAck(Ack::kCommitted).ok());
  EXPECT_TRUE(ValidateAck(Ack::kDurable).ok());
  ExpectInvalid(ValidateAck(static_cast<Ack>(2)), "ack is 2");
}

TEST(Validation, RangesStayInTheChain) {
  Chain chain;
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(chain.Append(key).ok());
  EXPECT_TRUE(ValidateRange(chain, 0, 3).ok());
  EXPECT_TRUE(ValidateRange(chain, 2, 1).ok());
  ExpectInvalid(ValidateRange(chain, 0, 0), "count");
  ExpectInvalid(ValidateRange(chain, 3, 1), "first 3");
  ExpectInvalid(ValidateRange(chain, 1, 3), "count 3");
  ExpectInvalid(ValidateRange(chain, 1, 0xffffffff), "count 4294967295");
}

}  // namespace
}  // namespace terrace

// Hello, Terrace: puts one prompt's blocks into a daemon, asks for them again, checks every byte.
//
//   terraced --config terraced.toml &
//   hello 127.0.0.1:7420
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#ifdef TERRACE_INSTALLED
#include <terrace/terrace.hpp>
#else
#include "client/terrace.hpp"
#endif

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kBlocks = 8;
constexpr std::uint64_t kBlockBytes = 256 << 10;

int Fail(const char* what, const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", what, why.c_str());
  return 1;
}

/// The byte that block `block` is filled with; 0 is left for "never written".
std::byte Fill(std::uint32_t block) { return static_cast<std::byte>(block + 1); }

}  // namespace

int main(int argc, char** argv) {
  terrace::ClientOptions options;
  options.name = "hello";
  if (argc > 1) options.address = argv[1];
  auto client = terrace::Client::Connect(options);
  if (!client.ok()) return Fail("connect", client.status().ToString());
  terrace::Client& terrace = *client.value();

  // Everything that changes the bytes of a block stands in its namespace.
  terrace::NamespaceDescriptor descriptor;
  descriptor.name = "hello";
  descriptor.model = "none/hello";
  descriptor.block_tokens = 64;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
  const auto space = terrace.OpenNamespace(descriptor, terrace::In(1s));
  if (!space.ok()) return Fail("open namespace", space.status().ToString());

  // Keys of the prompt's blocks, in prefix order. Engines use chained hashes.
  terrace::Chain chain;
  std::vector<terrace::BlockBuffer> blocks;
  const auto region = terrace.AllocateRegion(kBlocks * kBlockBytes);
  if (!region.ok()) return Fail("allocate", region.status().ToString());
  std::byte* memory = terrace.RegionMemory(region.value()).data();
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    if (const auto added = chain.Append("hello block " + std::to_string(i)); !added.ok()) {
      return Fail("append", added.ToString());
    }
    blocks.push_back({.position = i, .region = region.value(), .offset = i * kBlockBytes});
    std::memset(memory + i * kBlockBytes, std::to_integer<int>(Fill(i)), kBlockBytes);
  }

  const auto before = terrace.Match(space.value(), chain, {}, terrace::In(1s));
  if (!before.ok()) return Fail("match", before.status().ToString());
  std::printf("%u of %u blocks are stored already\n", before->matched, kBlocks);

  const auto stored = terrace.Put(space.value(), chain, blocks, {}, terrace::In(5s));
  if (!stored.ok()) return Fail("put", stored.status().ToString());

  std::memset(memory, 0, kBlocks * kBlockBytes);
  const auto loaded = terrace.Get(space.value(), chain, blocks, {}, terrace::In(5s));
  if (!loaded.ok()) return Fail("get", loaded.status().ToString());
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    const terrace::BlockResult& block = loaded.value()[i];
    if (block.status != terrace::StatusCode::kOk) {  // a real engine computes this block instead
      return Fail("get", "block " + std::to_string(i) + ": " +
                             std::string(terrace::StatusCodeName(block.status)));
    }
    for (std::uint64_t at = 0; at < kBlockBytes; ++at) {
      if (memory[i * kBlockBytes + at] != Fill(i)) return Fail("verify", "wrong byte");
    }
  }
  std::printf("%u blocks of %llu bytes came back right, by %s\n", kBlocks,
              static_cast<unsigned long long>(kBlockBytes), terrace.LinkName().c_str());
  return 0;
}

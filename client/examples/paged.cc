// An engine's paged cache, stored and brought back: K and V of a model's layers in pages of 16
// tokens. A prompt's blocks are put from the pages that hold them and got into other ones.
//
//   terraced --config terraced.toml &
//   paged 127.0.0.1:7420
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#ifdef TERRACE_INSTALLED
#include <terrace/paged.hpp>
#include <terrace/terrace.hpp>
#else
#include "client/paged.hpp"
#include "client/terrace.hpp"
#endif

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kBlocks = 4;
constexpr std::uint32_t kBlockPages = 4;  // 64 tokens
constexpr std::uint32_t kLayers = 4;

int Fail(const char* what, const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", what, why.c_str());
  return 1;
}

/// The engine's memory: per layer a tensor [2, pages, tokens, heads, dim] of bf16.
struct Engine {
  terrace::CacheLayout layout = terrace::PartsFirst({.layers = kLayers,
                                                     .pages = 64,
                                                     .page_tokens = 16,
                                                     .heads = 8,
                                                     .head_dim = 128,
                                                     .type = terrace::ElementType::kBf16},
                                                    terrace::PageOrder::kNhd);
  std::size_t layer_bytes = static_cast<std::size_t>(2 * layout.part_stride);
  std::vector<std::byte> memory = std::vector<std::byte>(kLayers * layer_bytes);

  std::byte* Page(std::uint32_t layer, std::uint32_t part, std::uint32_t page) {
    return memory.data() + layer * layer_bytes +
           static_cast<std::size_t>(part * layout.part_stride + page * layout.page_stride);
  }
  bool Same(std::uint32_t page, std::uint32_t other) {
    for (std::uint32_t i = 0; i < 2 * kLayers; ++i) {
      if (std::memcmp(Page(i / 2, i % 2, page), Page(i / 2, i % 2, other),
                      static_cast<std::size_t>(layout.page_stride)) != 0) {
        return false;
      }
    }
    return true;
  }
};

/// Block i of the prompt lies on these pages.
std::vector<terrace::PagedBlock> On(const std::vector<std::uint32_t>& pages) {
  std::vector<terrace::PagedBlock> blocks;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    blocks.push_back(
        {.position = i, .pages = std::span(pages).subspan(i * kBlockPages, kBlockPages)});
  }
  return blocks;
}

int PutAndGet(terrace::PagedCache& cache, terrace::NamespaceId space, Engine& engine) {
  terrace::Chain chain;
  std::vector<std::uint32_t> from;  // wherever the engine has put them
  std::vector<std::uint32_t> to;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    if (const auto added = chain.Append("paged block " + std::to_string(i)); !added.ok()) {
      return Fail("append", added.ToString());
    }
  }
  for (std::uint32_t i = 0; i < kBlocks * kBlockPages; ++i) {
    from.push_back(i * 7 % 32);
    to.push_back(32 + i * 5 % 32);
  }
  const auto stored = cache.Put(space, chain, On(from), {}, terrace::In(5s));
  if (!stored.ok()) return Fail("put", stored.status().ToString());
  const auto loaded = cache.Get(space, chain, On(to), {}, terrace::In(5s));
  if (!loaded.ok()) return Fail("get", loaded.status().ToString());
  for (const terrace::BlockResult& block : loaded.value()) {
    if (block.status != terrace::StatusCode::kOk) {  // a real engine computes this block instead
      return Fail("get", std::string(terrace::StatusCodeName(block.status)));
    }
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (!engine.Same(to[i], from[i])) return Fail("verify", "wrong bytes");
  }
  // Before the engine gives pages to another request: nothing touches them any more after this.
  const terrace::Status fenced = cache.Fence(to, terrace::In(1s));
  return fenced.ok() ? 0 : Fail("fence", fenced.ToString());
}

}  // namespace

int main(int argc, char** argv) {
  terrace::ClientOptions connection;
  connection.name = "paged";
  if (argc > 1) connection.address = argv[1];
  auto client = terrace::Client::Connect(connection);
  if (!client.ok()) return Fail("connect", client.status().ToString());

  Engine engine;
  for (std::size_t i = 0; i < engine.memory.size(); ++i) {
    engine.memory[i] = static_cast<std::byte>(i / 251);
  }
  terrace::PagedCacheOptions options;
  options.cache = engine.layout;
  options.stored.block_tokens = kBlockPages * engine.layout.page_tokens;
  options.layer_bases = terrace::LayerBases(engine.memory.data(), kLayers,
                                            static_cast<std::int64_t>(engine.layer_bytes));
  auto cache = terrace::PagedCache::Open(*client.value(), options);
  if (!cache.ok()) return Fail("open", cache.status().ToString());

  // The namespace's layout, kv_dtype and block size are those of the cache.
  terrace::NamespaceDescriptor descriptor;
  descriptor.name = "paged";
  descriptor.model = "none/paged";
  const auto space = cache.value()->OpenNamespace(descriptor, 0, terrace::In(1s));
  if (!space.ok()) return Fail("open namespace", space.status().ToString());
  if (const int wrong = PutAndGet(*cache.value(), space.value(), engine); wrong != 0) return wrong;
  std::printf("%u blocks of %u pages came back into other pages\n", kBlocks, kBlockPages);
  return 0;
}

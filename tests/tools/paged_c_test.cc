// terrace_paged.h against real reactors: a round trip in C's words, and what only C can get wrong.
#include "client/terrace_paged.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "tests/tools/shards_host.h"

namespace terrace {
namespace {

using ::testing::HasSubstr;

class PagedC : public ::testing::Test {
 protected:
  void SetUp() override {
    terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
    const std::string address = host_.address();
    options.address = address.c_str();
    options.connect_timeout_ms = 20'000;
    ASSERT_EQ(terrace_connect(&options, &client_, &error_), TERRACE_OK) << error_.message;
    cache_.layers = 2;
    cache_.pages = 16;
    cache_.page_tokens = 16;
    cache_.heads = 4;
    cache_.head_dim = 64;
    ASSERT_EQ(terrace_make_layout(TERRACE_FORM_PARTS_FIRST_NHD, &cache_, nullptr, &error_),
              TERRACE_OK)
        << error_.message;
    stored_.block_tokens = 32;
    memory_.resize(2 * static_cast<std::size_t>(2 * cache_.part_stride));
    bases_ = {memory_.data(), memory_.data() + 2 * cache_.part_stride};
    options_.cache = &cache_;
    options_.stored = &stored_;
    options_.layer_bases = bases_.data();
    options_.layer_base_count = 2;
    ASSERT_EQ(terrace_open_paged(client_, &options_, &paged_, &error_), TERRACE_OK)
        << error_.message;
    terrace_descriptor descriptor = TERRACE_DESCRIPTOR_INIT;
    descriptor.name = "c";
    ASSERT_EQ(terrace_paged_open_namespace(paged_, &descriptor, 0, Soon(), &space_, &error_),
              TERRACE_OK)
        << error_.message;
    ASSERT_EQ(terrace_chain_new(&chain_, &error_), TERRACE_OK);
    ASSERT_EQ(terrace_chain_append(chain_, "key0key1", 4, 2, &error_), TERRACE_OK);
  }
  void TearDown() override {
    terrace_close_paged(paged_, &error_);
    terrace_chain_free(chain_, &error_);
    terrace_close(client_, &error_);
  }
  static terrace_deadline Soon() { return terrace_in_ms(30'000); }
  std::byte* Page(std::uint32_t layer, std::uint32_t part, std::uint32_t page) {
    return static_cast<std::byte*>(bases_[layer]) + part * cache_.part_stride +
           page * cache_.page_stride;
  }
  void ExpectInvalid(terrace_status status, const char* text) {
    EXPECT_EQ(status, TERRACE_INVALID);
    EXPECT_THAT(error_.message, HasSubstr(text));
  }

  const testing::ShardsHost host_{1};
  terrace_client client_ = 0;
  terrace_paged paged_ = 0;
  terrace_space space_ = 0;
  terrace_chain chain_ = 0;
  terrace_cache_layout cache_ = TERRACE_CACHE_LAYOUT_INIT;
  terrace_stored_layout stored_ = TERRACE_STORED_LAYOUT_INIT;
  terrace_paged_options options_ = TERRACE_PAGED_OPTIONS_INIT;
  terrace_error error_{};
  std::vector<std::byte> memory_;
  std::vector<void*> bases_;
  const terrace_paged_block blocks_[2] = {{0, 0}, {1, 0}};
  terrace_block_result results_[2] = {};
};

TEST_F(PagedC, BlocksGoOutOfPagesAndIntoOthers) {
  for (std::size_t i = 0; i < memory_.size(); ++i) {
    memory_[i] = static_cast<std::byte>(i * 0x9e3779b97f4a7c15ULL >> 40);
  }
  const std::uint32_t from[] = {3, 9, 1, 12};
  const std::uint32_t to[] = {0, 15, 7, 4};
  ASSERT_EQ(terrace_paged_put(paged_, space_, chain_, {0, 0}, blocks_, 2, from, 4, nullptr, Soon(),
                              results_, &error_),
            TERRACE_OK)
      << error_.message;
  EXPECT_EQ(results_[1].status, TERRACE_OK);
  terrace_ticket ticket = 0;
  terrace_paged_call call = TERRACE_PAGED_CALL_INIT;
  call.first_layer = 1;
  ASSERT_EQ(terrace_paged_submit_get(paged_, space_, chain_, {0, 0}, blocks_, 2, to, 4, &call,
                                     Soon(), &ticket, &error_),
            TERRACE_OK)
      << error_.message;
  ASSERT_EQ(terrace_paged_wait_for_completion(paged_, Soon(), &error_), TERRACE_OK);
  terrace_result result = 0;
  std::uint64_t count = 0;
  ASSERT_EQ(terrace_paged_poll(paged_, &result, 1, &count, &error_), TERRACE_OK);
  ASSERT_EQ(count, 1u);
  terrace_answer answer{};
  answer.struct_size = sizeof(answer);
  ASSERT_EQ(terrace_result_answer(result, &answer, &error_), TERRACE_OK);
  EXPECT_EQ(answer.ticket, ticket);
  ASSERT_EQ(answer.block_count, 2u);
  EXPECT_EQ(answer.blocks[0].status, TERRACE_OK);
  terrace_result_free(result, &error_);
  for (std::uint32_t i = 0; i < 4; ++i) {
    const auto bytes = static_cast<std::size_t>(cache_.page_stride);
    for (std::uint32_t part = 0; part < 2; ++part) {
      EXPECT_EQ(std::memcmp(Page(1, part, to[i]), Page(1, part, from[i]), bytes), 0);
      EXPECT_NE(std::memcmp(Page(0, part, to[i]), Page(0, part, from[i]), bytes), 0);
    }
  }
  EXPECT_EQ(terrace_paged_fence(paged_, to, 4, Soon(), &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_paged_cancel(paged_, ticket, Soon(), &error_), TERRACE_OK);
  EXPECT_EQ(terrace_paged_drain(paged_, Soon(), &error_), TERRACE_OK);
  int fd = -1;
  EXPECT_EQ(terrace_paged_completion_fd(paged_, &fd, &error_), TERRACE_OK);
  EXPECT_GE(fd, 0);
}

TEST_F(PagedC, WhatOnlyCCanGetWrongIsNamed) {
  const std::uint32_t pages[] = {0, 1, 2, 3};
  const auto get = [&](const terrace_paged_block* blocks, std::uint64_t count,
                       const std::uint32_t* its, std::uint64_t page_count) {
    return terrace_paged_get(paged_, space_, chain_, {0, 0}, blocks, count, its, page_count,
                             nullptr, Soon(), results_, &error_);
  };
  ExpectInvalid(get(nullptr, 2, pages, 4), "blocks is null");
  ExpectInvalid(get(blocks_, 2, nullptr, 4), "pages is null");
  ExpectInvalid(get(blocks_, 2, pages, 3), "page_count is 3, not the 2 pages of each of 2");
  terrace_paged_call call = TERRACE_PAGED_CALL_INIT;
  call.struct_size = 8;
  ExpectInvalid(terrace_paged_get(paged_, space_, chain_, {0, 0}, blocks_, 2, pages, 4, &call,
                                  Soon(), results_, &error_),
                "call.struct_size is 8");
  ExpectInvalid(terrace_paged_drain(client_, Soon(), &error_), "paged is the handle of a client");
  terrace_paged other = 0;
  options_.layer_base_count = 1;
  ExpectInvalid(terrace_open_paged(client_, &options_, &other, &error_),
                "options.layer_base_count is 1, and cache.layers is 2");
  options_.layer_base_count = 2;
  options_.place = TERRACE_PLACE_CUDA + 1;
  ExpectInvalid(terrace_open_paged(client_, &options_, &other, &error_), "options.place is 2");
  options_.place = TERRACE_PLACE_CUDA;  // and the memory is the CPU's
  const int opened = terrace_open_paged(client_, &options_, &other, &error_);
  EXPECT_TRUE(opened == TERRACE_INVALID || opened == TERRACE_UNSUPPORTED) << opened;
  options_.place = TERRACE_PLACE_CPU;
  stored_.order = 2;
  ExpectInvalid(terrace_open_paged(client_, &options_, &other, &error_), "stored.order is 2");
  stored_.order = TERRACE_HEADS_FIRST;
  stored_.type = 3;
  ExpectInvalid(terrace_open_paged(client_, &options_, &other, &error_), "stored.type is 3");
  ExpectInvalid(terrace_make_layout(17, &cache_, nullptr, &error_), "form is 17");
  cache_.type = 6;
  ExpectInvalid(terrace_make_layout(0, &cache_, nullptr, &error_), "cache.type is 6");
  std::uint64_t bytes = 0;
  cache_.type = TERRACE_ELEMENT_BF16;
  stored_.type = TERRACE_STORED_INT8;
  EXPECT_EQ(terrace_stored_block(&cache_, &stored_, &bytes, nullptr, &error_), TERRACE_OK);
  EXPECT_EQ(bytes, 2u * 2 * (4 * 32 * 64 + 4 * 2 * 4));
}

TEST_F(PagedC, AClosedClientLeavesThePagedCacheHarmless) {
  EXPECT_EQ(terrace_close(client_, &error_), TERRACE_OK);
  const std::uint32_t pages[] = {0, 1, 2, 3};
  EXPECT_NE(terrace_paged_get(paged_, space_, chain_, {0, 0}, blocks_, 2, pages, 4, nullptr, Soon(),
                              results_, &error_),
            TERRACE_OK);
  EXPECT_EQ(terrace_close_paged(paged_, &error_), TERRACE_OK);
  ExpectInvalid(terrace_paged_drain(paged_, Soon(), &error_), "paged was closed");
}

TEST_F(PagedC, EveryFormIsADenseTensor) {
  for (std::uint32_t form = 0; form <= TERRACE_FORM_BHLNC; ++form) {
    terrace_cache_layout layout = TERRACE_CACHE_LAYOUT_INIT;
    layout.layers = 3;
    layout.pages = 5;
    layout.page_tokens = 16;
    layout.heads = 2;
    layout.head_dim = 8;
    std::int64_t layer = 0;
    ASSERT_EQ(terrace_make_layout(form, &layout, &layer, &error_), TERRACE_OK) << error_.message;
    const std::int64_t last = (layout.layers - 1) * layer +
                              (layout.parts - 1) * layout.part_stride + 4 * layout.page_stride +
                              15 * layout.token_stride + (layout.heads - 1) * layout.head_stride +
                              layout.head_dim * 2;
    const bool one_tensor = form >= TERRACE_FORM_CROSS_LAYER_NHD;
    EXPECT_EQ(layer != 0, one_tensor) << form;
    EXPECT_EQ(last, static_cast<std::int64_t>(one_tensor ? layout.layers : 1) * layout.parts * 5 *
                        16 * layout.heads * layout.head_dim * 2)
        << form;
  }
}

}  // namespace
}  // namespace terrace

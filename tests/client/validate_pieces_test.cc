// What is wrong with pieces is said before anything is sent, by the argument's name and index.
#include "client/request/validate_pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/random.h"
#include "client/regions/region_table.h"

namespace terrace {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;

std::string Wrong(const Status& status) {
  EXPECT_EQ(status.code(), StatusCode::kInvalid) << status.ToString();
  return std::string(status.message());
}
MemoryPiece Piece(std::uint64_t offset, std::uint64_t length) { return {{1}, offset, length}; }

TEST(ValidatePiecesTest, EachMistakeNamesBlockAndPiece) {
  const std::vector<MemoryPiece> whole{Piece(0, 4096)};
  const std::vector<MemoryPiece> halves{Piece(0, 2048), Piece(4096, 2048)};
  const auto check = [](std::vector<BlockPieces> blocks,
                        TransferKind kind = TransferKind{.kind = RequestKind::kGet}) {
    return ValidatePieces(blocks, kBlockBytes, kind);
  };
  EXPECT_TRUE(check({{0, whole, {}, 0}, {1, halves, {}, 0}}).ok());
  EXPECT_TRUE(check({{0, whole, {}, 0}}, TransferKind{.kind = RequestKind::kPut}).ok());

  EXPECT_EQ(Wrong(check({{0, whole, {}, 0}, {1, {}, {}, 0}})), "blocks[1].pieces is empty");
  const std::vector<MemoryPiece> none{Piece(0, 4095), Piece(0, 0), Piece(0, 1)};
  EXPECT_EQ(Wrong(check({{0, none, {}, 0}})),
            "blocks[0].pieces[1].length is 0, not 1 to the 1 bytes that are left");
  const std::vector<MemoryPiece> more{Piece(0, 4096), Piece(0, 1)};
  EXPECT_EQ(Wrong(check({{0, whole, {}, 0}, {1, more, {}, 0}})),
            "blocks[1].pieces[1].length is 1, not 1 to the 0 bytes that are left");
  const std::vector<MemoryPiece> huge{Piece(0, 1), Piece(0, ~std::uint64_t{0})};
  EXPECT_EQ(Wrong(check({{0, huge, {}, 0}})).substr(0, 26), "blocks[0].pieces[1].length");
  const std::vector<MemoryPiece> less{Piece(0, 4000)};
  EXPECT_EQ(Wrong(check({{0, less, {}, 0}})),
            "blocks[0].pieces have 4000 bytes together, its range has 4096");
  EXPECT_EQ(Wrong(check({{0, whole, {.offset = 1}, 0}})),
            "blocks[0].pieces[0].length is 4096, not 1 to the 4095 bytes that are left");
  EXPECT_EQ(Wrong(check({{0, whole, {.offset = 4096}, 0}})),
            "blocks[0].range.offset is 4096, the block has 4096 bytes");
  EXPECT_EQ(
      Wrong(check({{0, whole, {.bytes = 1024, .count = 4, .stride = 1025}, 0}})).substr(0, 21),
      "blocks[0].range.count");
  EXPECT_TRUE(check({{0, whole, {.bytes = 1024, .count = 4, .stride = 1024}, 0}}).ok());
  const std::vector<MemoryPiece> part{Piece(0, 1024)};
  EXPECT_EQ(Wrong(check({{0, part, {.bytes = 1024}, 0}}, TransferKind{.kind = RequestKind::kPut})),
            "blocks[0].range is a part of the block: a put stores whole ones (Reserve)");
}

TEST(ValidatePiecesTest, PiecesOfACallHaveALimit) {
  const std::vector<MemoryPiece> ones(kPiecesOfOneMax, Piece(0, 1));
  const BlockRange range{.bytes = kPiecesOfOneMax};
  std::vector<BlockPieces> blocks{{0, ones, range, 0}};
  EXPECT_TRUE(ValidatePieces(blocks, 1 << 20, TransferKind{.kind = RequestKind::kGet}).ok());
  const std::vector<MemoryPiece> two(2, Piece(0, 1));
  blocks.push_back({1, two, {.bytes = 2}, 0});
  EXPECT_EQ(
      Wrong(ValidatePieces(blocks, 1 << 20, TransferKind{.kind = RequestKind::kGet})).substr(0, 16),
      "blocks[1].pieces");
  const std::vector<MemoryPiece> many(kPiecesOfOneMax + 1, Piece(0, 1));
  EXPECT_EQ(
      Wrong(ValidatePieces(std::vector<BlockPieces>{{0, many, {.bytes = kPiecesOfOneMax + 1}, 0}},
                           1 << 20, TransferKind{.kind = RequestKind::kGet})),
      "blocks[0].pieces has 65536 pieces and brings the call to 65536: at most 65535 and "
      "65536");
}

TEST(ValidatePiecesTest, FragmentsNameTheirIndex) {
  const std::vector<MemoryPiece> fine{Piece(0, 10)};
  const auto check = [](std::vector<BlockFragment> fragments) {
    return ValidateFragments(fragments);
  };
  EXPECT_TRUE(check({{0, fine}, {10, fine}}).ok());
  EXPECT_EQ(Wrong(check({})), "the number of fragments is 0, not 1 to 65536");
  EXPECT_EQ(Wrong(check({{0, fine}, {10, {}}})), "fragments[1].pieces is empty");
  EXPECT_EQ(Wrong(check({{0, fine}, {kBlockBytesMax, fine}})).substr(0, 19), "fragments[1].offset");
  EXPECT_EQ(Wrong(check({{kBlockBytesMax - 9, fine}})).substr(0, 29),
            "fragments[0].pieces[0].length");
}

TEST(RegionPiecesTest, APieceOutsideItsRegionIsNamed) {
  RegionTable table;
  std::vector<std::byte> memory(8192);
  const std::uint32_t region = table.Add(memory.data(), memory.size()).value().id;
  const std::vector<MemoryPiece> fine{{{region}, 8000, 192}};
  const std::vector<MemoryPiece> beyond{{{region}, 0, 1}, {{region}, 8000, 193}};
  const std::vector<MemoryPiece> overflow{{{region}, ~std::uint64_t{0}, 2}};
  const std::vector<MemoryPiece> unknown{{{region}, 0, 1}, {{region + 1}, 0, 1}};
  const auto use = [&table](std::vector<std::span<const MemoryPiece>> lists) {
    std::vector<std::span<std::byte>> found;
    return table.UsePieces("blocks", lists, found).status();
  };
  EXPECT_TRUE(use({fine, fine}).ok());
  EXPECT_EQ(Wrong(use({fine, beyond})),
            "blocks[1].pieces[1]: offset 8000 and length 193 reach past region " +
                std::to_string(region) + " of 8192 bytes");
  EXPECT_EQ(Wrong(use({overflow})).substr(0, 19), "blocks[0].pieces[0]");
  EXPECT_EQ(Wrong(use({unknown})), "blocks[0].pieces[1].region: region " +
                                       std::to_string(region + 1) + " is not registered");
  // Refused calls have left no use behind.
  EXPECT_TRUE(table.Remove(region).ok());
  EXPECT_EQ(Wrong(use({fine})),
            "blocks[0].pieces[0].region: region " + std::to_string(region) + " is not registered");
}

/// Blocks whose pieces' lengths alone matter: CheckDisjoint names them by their counts.
struct Call {
  std::vector<std::vector<MemoryPiece>> lists;
  std::vector<BlockPieces> blocks;
  std::vector<std::span<std::byte>> memory;
};
Call CallOf(std::span<std::byte> base,
            const std::vector<std::vector<std::pair<std::size_t, std::size_t>>>& lists) {
  Call call;
  for (const auto& list : lists) {
    auto& pieces = call.lists.emplace_back();
    for (const auto& [offset, length] : list) {
      pieces.push_back(Piece(offset, length));
      call.memory.push_back(base.subspan(offset, length));
    }
  }
  for (const auto& pieces : call.lists) call.blocks.push_back({0, pieces, {}, 0});
  return call;
}

TEST(DisjointTest, OverlapsAreNamedByBothTheirPieces) {
  std::vector<std::byte> memory(1000);
  const auto check = [&memory](auto lists) {
    const Call call = CallOf(memory, lists);
    return CheckDisjoint(call.blocks, call.memory);
  };
  using Lists = std::vector<std::vector<std::pair<std::size_t, std::size_t>>>;
  EXPECT_TRUE(check(Lists{{{0, 10}, {10, 10}}, {{20, 980}}}).ok());
  EXPECT_TRUE(check(Lists{{{500, 10}, {10, 10}}, {{0, 10}, {20, 1}}}).ok());
  EXPECT_EQ(Wrong(check(Lists{{{0, 10}, {20, 10}}, {{40, 10}, {29, 2}}})),
            "blocks[1].pieces[1] overlaps blocks[0].pieces[1]");
  EXPECT_EQ(Wrong(check(Lists{{{5, 1}, {5, 1}}})),
            "blocks[0].pieces[1] overlaps blocks[0].pieces[0]");
  EXPECT_EQ(Wrong(check(Lists{{{0, 1000}}, {{999, 1}}})),
            "blocks[1].pieces[0] overlaps blocks[0].pieces[0]");
}

TEST(DisjointTest, RandomPiecesAgreeWithABitmap) {
  SeededRandom random(3);
  std::vector<std::byte> memory(400);
  int overlapping = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::vector<std::pair<std::size_t, std::size_t>>> lists(1 + random.Below(3));
    std::vector<bool> used(memory.size());
    bool overlap = false;
    for (auto& list : lists) {
      for (std::size_t i = random.Below(4) + 1; i > 0; --i) {
        // In every other round pages of one size, in every fourth all of them on one grid.
        const bool page = round % 2 == 0;
        const std::size_t offset =
            page ? random.Below(39) * 10 + (round % 4 == 0 ? 3 : random.Below(4))
                 : random.Below(390);
        const std::size_t length =
            page ? 6 : 1 + random.Below(std::min<std::size_t>(30, 400 - offset));
        list.emplace_back(offset, length);
        for (std::size_t byte = offset; byte < offset + length; ++byte) {
          overlap = overlap || used[byte];
          used[byte] = true;
        }
      }
    }
    const Call call = CallOf(memory, lists);
    ASSERT_EQ(CheckDisjoint(call.blocks, call.memory).ok(), !overlap) << round;
    overlapping += overlap ? 1 : 0;
  }
  EXPECT_GT(overlapping, 200);
  EXPECT_LT(overlapping, 1800);
}

TEST(DisjointTest, PagesOnAGridThatNameOneOfThemTwiceAreNamed) {
  std::vector<std::byte> memory(4096);
  SeededRandom random(4);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::pair<std::size_t, std::size_t>> list;
    std::vector<bool> used(64);
    bool twice = false;
    for (std::size_t i = random.Below(12) + 1; i > 0; --i) {
      const std::size_t page = random.Below(64);
      twice = twice || used[page];
      used[page] = true;
      list.emplace_back(page * 64, 64);
    }
    const Call call = CallOf(memory, {list});
    ASSERT_EQ(CheckDisjoint(call.blocks, call.memory).ok(), !twice) << round;
  }
}

TEST(TokenTest, ATokenThatIsNoneOfTheDaemonsIsNamed) {
  PutToken token;
  EXPECT_EQ(Wrong(ReadToken(token, 2).status()), "token is of version 0, not 1");
  token.bytes = PackPutToken({.incarnation = 7, .reactor = 2, .slot = 3, .nonce = {4, 5}});
  EXPECT_EQ(Wrong(ReadToken(token, 2).status()), "token names reactor 2, the daemon has 2");
  const Result<PutTokenParts> parts = ReadToken(token, 3);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(parts->incarnation, 7u);
  EXPECT_EQ(parts->nonce[1], 5u);
}

TEST(TokenTest, PatienceHasALimit) {
  EXPECT_TRUE(ValidatePatience(std::chrono::seconds(60)).ok());
  EXPECT_EQ(Wrong(ValidatePatience(std::chrono::milliseconds(60'001))),
            "patience is 60001 ms, not 0 to 60000");
  EXPECT_EQ(Wrong(ValidatePatience(std::chrono::milliseconds(-1))),
            "patience is -1 ms, not 0 to 60000");
}

}  // namespace
}  // namespace terrace

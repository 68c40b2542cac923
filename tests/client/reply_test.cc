#include "client/wire/reply.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace terrace {
namespace {

class Arrivals final : public ArrivalCheck {
 public:
  [[nodiscard]] StatusCode Arrived(std::uint64_t, std::uint32_t index) const override {
    return index == bad ? StatusCode::kCorrupt : StatusCode::kOk;
  }
  [[nodiscard]] std::unique_ptr<LentMemory> TakeLoan(const wire::Loan&) const override {
    ++taken;
    if (lends == nullptr) return nullptr;
    auto lent =
        LentMemory::Make({.place = {}, .bytes = 16, .slot = 3, .generation = 4}, page, lends);
    return lent.ok() ? std::move(*lent) : nullptr;
  }
  std::shared_ptr<const ExtentMapping> lends;  ///< what is taken; null: nothing can be
  std::shared_ptr<SharedPage> page;
  std::uint32_t bad = 0xffffffff;
  mutable std::size_t taken = 0;
};

/// Numbers as on the wire; none: the reply has no such vector.
struct AckNumbers {
  std::vector<std::uint8_t> acks;
  std::vector<std::uint8_t> not_durable;
};

std::vector<std::byte> BlocksReply(std::vector<StatusCode> codes, const AckNumbers& numbers = {}) {
  return BuildMessage<wire::BlocksReply>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
    std::vector<std::uint8_t> statuses;
    for (const StatusCode code : codes) statuses.push_back(static_cast<std::uint8_t>(code));
    const auto offset = builder.CreateVector(statuses);
    const auto tiers = builder.CreateVector(
        std::vector<std::uint8_t>(codes.size(), static_cast<std::uint8_t>(TierKind::kDram)));
    const auto tokens = builder.CreateVector(std::vector<std::uint32_t>(codes.size(), 16));
    const auto acks = numbers.acks.empty() ? 0 : builder.CreateVector(numbers.acks);
    const auto reasons =
        numbers.not_durable.empty() ? 0 : builder.CreateVector(numbers.not_durable);
    return wire::CreateBlocksReply(builder, offset, tiers, tokens, acks, reasons);
  });
}

/// A request about three blocks: part 0 has blocks 2 and 0, part 1 has block 1.
class ReplyTest : public ::testing::Test {
 protected:
  ReplyTest() {
    request_.kind = RequestKind::kGet;
    request_.blocks.resize(3);
    request_.parts.resize(2);
    request_.parts[0].blocks = {2, 0};
    request_.parts[1].blocks = {1};
  }
  void Apply(std::size_t part, const std::vector<std::byte>& message) {
    const auto verified = VerifyMessage(message);
    ASSERT_TRUE(verified.ok()) << verified.status().ToString();
    ApplyReply(request_, request_.parts[part], **verified, arrivals_);
  }
  StatusCode StatusOfBlock(std::size_t block) const { return request_.blocks[block].status; }
  void AskForDurable() {
    request_.kind = RequestKind::kPut;
    request_.ack = Ack::kDurable;
  }
  void ExpectAck(std::size_t block, Ack ack, NotDurable reason) const {
    EXPECT_EQ(request_.blocks[block].ack, ack) << block;
    EXPECT_EQ(request_.blocks[block].not_durable, reason) << block;
  }

  Request request_;
  Arrivals arrivals_;
};

TEST_F(ReplyTest, AnswersComeInTheCallersOrder) {
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kMiss}));
  Apply(1, BlocksReply({StatusCode::kCorrupt}));
  CombineAnswer(request_);
  ASSERT_TRUE(request_.status.ok());
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kOk);
  EXPECT_EQ(StatusOfBlock(0), StatusCode::kMiss);
  EXPECT_EQ(StatusOfBlock(1), StatusCode::kCorrupt);
  EXPECT_EQ(request_.blocks[2].tier, Tier::kDram);
  EXPECT_EQ(request_.blocks[2].valid_tokens, 16U);
}

TEST_F(ReplyTest, BlockThatDidNotArriveWholeIsCorruptWhateverTheDaemonSays) {
  arrivals_.bad = 1;
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kOk}));
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kOk);
  EXPECT_EQ(StatusOfBlock(0), StatusCode::kCorrupt);
}

TEST_F(ReplyTest, AnswerOfAnotherLengthIsNoAnswer) {
  Apply(0, BlocksReply({StatusCode::kOk}));
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kInternal);
  EXPECT_EQ(StatusOfBlock(0), StatusCode::kInternal);
  Apply(1, BuildMessage<wire::MatchReply>({}));
  EXPECT_EQ(StatusOfBlock(1), StatusCode::kInternal) << "an answer to another question";
}

TEST_F(ReplyTest, StatusNobodyKnowsIsInternal) {
  Apply(1, BlocksReply({static_cast<StatusCode>(200)}));
  EXPECT_EQ(StatusOfBlock(1), StatusCode::kInternal);
}

TEST_F(ReplyTest, DurableOrWhyNotComesInTheCallersOrder) {
  AskForDurable();
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kOk}, {{1, 0}, {0, 3}}));
  Apply(1, BlocksReply({StatusCode::kExists}, {{1}, {0}}));
  ExpectAck(2, Ack::kDurable, NotDurable::kNone);
  ExpectAck(0, Ack::kCommitted, NotDurable::kWriteBudget);
  ExpectAck(1, Ack::kDurable, NotDurable::kNone);
}

TEST_F(ReplyTest, BlockThatWasNotStoredIsNeverCalledDurable) {
  AskForDurable();
  Apply(0, BlocksReply({StatusCode::kRetry, StatusCode::kPending}, {{1, 1}, {0, 8}}));
  ExpectAck(2, Ack::kCommitted, NotDurable::kNone);
  ExpectAck(0, Ack::kCommitted, NotDurable::kNone);
}

TEST_F(ReplyTest, LevelsAndReasonsNobodyKnowsClaimNothing) {
  AskForDurable();
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kOk}, {{2, 1}, {0, 200}}));
  Apply(1, BlocksReply({StatusCode::kOk}, {{1}, {4}}));
  ExpectAck(2, Ack::kCommitted, NotDurable::kNone);
  ExpectAck(0, Ack::kCommitted, NotDurable::kNone);
  ExpectAck(1, Ack::kCommitted, NotDurable::kQueueFull);
}

TEST_F(ReplyTest, AnotherNumberOfAcksThanOfBlocksIsNoAnswer) {
  AskForDurable();
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kOk}, {{1, 1, 1}, {0, 0}}));
  Apply(1, BlocksReply({StatusCode::kOk}, {{1}, {}}));
  for (std::size_t block = 0; block < 3; ++block) {
    EXPECT_EQ(StatusOfBlock(block), StatusCode::kInternal) << block;
    ExpectAck(block, Ack::kCommitted, NotDurable::kNone);
  }
}

TEST_F(ReplyTest, DaemonThatIsOlderThanAcksHasNoTierForThem) {
  AskForDurable();
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kRetry}));
  ExpectAck(2, Ack::kCommitted, NotDurable::kNoTier);
  ExpectAck(0, Ack::kCommitted, NotDurable::kNone);
}

TEST_F(ReplyTest, AcksThatNobodyAskedForAreNotLookedAt) {
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kOk}, {{1}, {0}}));
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kOk);
  ExpectAck(2, Ack::kCommitted, NotDurable::kNone);
}

TEST_F(ReplyTest, RefusalOfOnePartStaysWithItsBlocks) {
  Apply(0, BuildError({}, Status(StatusCode::kRetry, "too busy")));
  Apply(1, BlocksReply({StatusCode::kOk}));
  CombineAnswer(request_);
  ASSERT_TRUE(request_.status.ok());
  EXPECT_EQ(StatusOfBlock(0), StatusCode::kRetry);
  EXPECT_EQ(StatusOfBlock(1), StatusCode::kOk);
}

TEST_F(ReplyTest, RefusalOfAllPartsKeepsTheDaemonsWords) {
  Apply(0, BuildError({}, Status::Invalid("group 7 is unknown")));
  Apply(1, BuildError({}, Status::Invalid("group 7 is unknown")));
  CombineAnswer(request_);
  EXPECT_EQ(request_.status.code(), StatusCode::kInvalid);
  EXPECT_EQ(request_.status.message(), "group 7 is unknown");
  EXPECT_TRUE(request_.blocks.empty());
}

TEST_F(ReplyTest, DoubtKeepsWhatIsKnownToBeGood) {
  Apply(0, BlocksReply({StatusCode::kOk, StatusCode::kTimeout}));
  request_.parts[0].replied = true;
  DoubtPart(request_, request_.parts[0]);
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kOk);
  EXPECT_EQ(StatusOfBlock(0), StatusCode::kInDoubt);
}

TEST(Reply, MatchWithMoreTiersThanKeysIsRefused) {
  Request request;
  request.kind = RequestKind::kMatch;
  request.parts.resize(1);
  request.parts[0].blocks = {0, 1};
  request.match_steps = {{0, 2}};
  const Arrivals arrivals;
  const auto bytes =
      BuildMessage<wire::MatchReply>({}, [](flatbuffers::FlatBufferBuilder& builder) {
        const auto tiers = builder.CreateVector(std::vector<std::uint8_t>(3, 2));
        return wire::CreateMatchReply(builder, tiers);
      });
  ApplyReply(request, request.parts[0], **VerifyMessage(bytes), arrivals);
  CombineAnswer(request);
  EXPECT_EQ(request.status.code(), StatusCode::kInternal);
}

TEST(Reply, ClearIsAMissOnlyWhenNoReactorKnowsTheName) {
  const auto miss = BuildError({}, Status(StatusCode::kMiss, "no such namespace"));
  const auto cleared =
      BuildMessage<wire::ClearNamespaceReply>({}, [](flatbuffers::FlatBufferBuilder& builder) {
        return wire::CreateClearNamespaceReply(builder, 5);
      });
  const Arrivals arrivals;
  Request request;
  request.kind = RequestKind::kClearNamespace;
  request.parts.resize(2);
  ApplyReply(request, request.parts[0], **VerifyMessage(miss), arrivals);
  ApplyReply(request, request.parts[1], **VerifyMessage(cleared), arrivals);
  EXPECT_TRUE(request.status.ok());
  EXPECT_EQ(request.cleared, 5U);
  Request nowhere;
  nowhere.kind = RequestKind::kClearNamespace;
  nowhere.parts.resize(2);
  for (RequestPart& part : nowhere.parts) {
    ApplyReply(nowhere, part, **VerifyMessage(miss), arrivals);
  }
  EXPECT_EQ(nowhere.status.code(), StatusCode::kMiss);
}

TEST(Reply, SamplesAndNamespacesOfAllReactorsAreSummed) {
  const Arrivals arrivals;
  Request stat;
  stat.kind = RequestKind::kStat;
  stat.parts.resize(2);
  const auto samples =
      BuildMessage<wire::StatReply>({}, [](flatbuffers::FlatBufferBuilder& builder) {
        const auto name = builder.CreateString("hits");
        const auto labels = builder.CreateString("tier=\"dram\"");
        const std::vector<flatbuffers::Offset<wire::Sample>> list = {
            wire::CreateSample(builder, name, labels, 2), wire::CreateSample(builder, name, 0, 10)};
        return wire::CreateStatReply(builder, builder.CreateVector(list));
      });
  for (RequestPart& part : stat.parts) {
    ApplyReply(stat, part, **VerifyMessage(samples), arrivals);
  }
  CombineAnswer(stat);
  ASSERT_EQ(stat.samples.size(), 2U);
  EXPECT_EQ(stat.samples[0].value, 4);
  EXPECT_EQ(stat.samples[1].value, 20);

  Request list;
  list.kind = RequestKind::kListNamespaces;
  list.parts.resize(2);
  const auto infos =
      BuildMessage<wire::ListNamespacesReply>({}, [](flatbuffers::FlatBufferBuilder& builder) {
        const auto tenant = builder.CreateString("t");
        const auto name = builder.CreateString("n");
        const auto fingerprint = builder.CreateVector(std::vector<std::uint8_t>(16, 0xab));
        const std::vector<flatbuffers::Offset<wire::NamespaceInfo>> infos_of = {
            wire::CreateNamespaceInfo(builder, tenant, name, fingerprint, 3, 300)};
        return wire::CreateListNamespacesReply(builder, builder.CreateVector(infos_of));
      });
  for (RequestPart& part : list.parts) {
    ApplyReply(list, part, **VerifyMessage(infos), arrivals);
  }
  CombineAnswer(list);
  ASSERT_EQ(list.namespaces.size(), 1U);
  EXPECT_EQ(list.namespaces[0].blocks, 6U);
  EXPECT_EQ(list.namespaces[0].bytes, 600U);
  EXPECT_EQ(list.namespaces[0].fingerprint, "abababababababababababababababab");
}

std::vector<std::byte> LoansReply(std::vector<StatusCode> codes, std::size_t loans,
                                  std::uint32_t extent = 1) {
  return BuildMessage<wire::BlocksReply>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
    std::vector<std::uint8_t> statuses;
    for (const StatusCode code : codes) statuses.push_back(static_cast<std::uint8_t>(code));
    const auto offset = builder.CreateVector(statuses);
    const std::vector<wire::Loan> list(loans, wire::Loan(extent, 1, 3, 4, 0, 4096));
    const auto loan_list = builder.CreateVectorOfStructs(list);
    return wire::CreateBlocksReply(builder, offset, 0, 0, 0, 0, loan_list);
  });
}

TEST_F(ReplyTest, OnlyBlocksThatWereFoundAreTakenOnLoan) {
  request_.kind = RequestKind::kLend;
  request_.lent.resize(3);
  Apply(0, LoansReply({StatusCode::kOk, StatusCode::kMiss}, 2));
  EXPECT_EQ(arrivals_.taken, 1U);
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kInternal) << "it could not be taken: nothing to read";
  EXPECT_EQ(StatusOfBlock(0), StatusCode::kMiss);
}

/// Memory of a GPU that is mapped; nobody looks at its bytes.
class GpuMapping final : public DeviceMapping {
 public:
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept override { return bytes_; }
  [[nodiscard]] const std::string& gpu() const noexcept override { return gpu_; }

 private:
  const std::string gpu_ = "GPU-1";
  std::array<std::byte, 4096> bytes_{};
};

TEST_F(ReplyTest, MemoryOfAGpuThatTheCallDidNotNameIsGivenBack) {
  request_.kind = RequestKind::kLend;
  request_.lent.resize(3);
  UniqueFd page_fd;
  arrivals_.page = std::move(SharedPage::Create(&page_fd)).value();
  arrivals_.page->layout().generations[3] = 4;
  arrivals_.lends = ExtentMapping::OfDevice(std::make_shared<GpuMapping>(), UniqueFd(), nullptr);
  const std::vector<std::byte> reply =
      LoansReply({StatusCode::kOk, StatusCode::kMiss}, 2, kDeviceExtentFirst);
  for (const char* named : {"", "GPU-2"}) {
    request_.lend_gpu = named;
    arrivals_.page->layout().released[3] = 0;
    Apply(0, reply);
    EXPECT_EQ(StatusOfBlock(2), StatusCode::kInternal) << named;
    EXPECT_EQ(request_.lent[2], nullptr) << named;
    EXPECT_EQ(arrivals_.page->layout().released[3], 4U) << "the daemon need not keep it";
  }
  request_.lend_gpu = "GPU-1";
  Apply(0, reply);
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kOk);
  ASSERT_NE(request_.lent[2], nullptr);
  request_.lent[2].reset();
  arrivals_.lends = nullptr;
  Apply(0, reply);
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kUnsupported) << "it could not be mapped";
  request_.lend_gpu.clear();
  Apply(0, reply);
  EXPECT_EQ(StatusOfBlock(2), StatusCode::kInternal) << "it was not to be mapped";
}

TEST_F(ReplyTest, OneTextNamedAThousandTimesIsRefusedNotCopied) {
  request_.kind = RequestKind::kStat;
  Apply(0, BuildMessage<wire::StatReply>({}, [](flatbuffers::FlatBufferBuilder& builder) {
          const auto text = builder.CreateString(std::string(1 << 20, 'x'));
          std::vector<flatbuffers::Offset<wire::Sample>> samples;
          for (int i = 0; i < 1000; ++i) {
            samples.push_back(wire::CreateSample(builder, text, text, 1));
          }
          return wire::CreateStatReply(builder, builder.CreateVector(samples));
        }));
  EXPECT_EQ(request_.status.code(), StatusCode::kInternal);
  CombineAnswer(request_);
  EXPECT_TRUE(request_.samples.empty());
}

TEST_F(ReplyTest, AnotherNumberOfLoansIsNoAnswerAndLendsNothing) {
  request_.kind = RequestKind::kLend;
  request_.lent.resize(3);
  Apply(0, LoansReply({StatusCode::kOk, StatusCode::kOk}, 1));
  Apply(1, LoansReply({StatusCode::kOk}, 0));
  EXPECT_EQ(arrivals_.taken, 0U);
  for (std::size_t block = 0; block < 3; ++block) {
    EXPECT_EQ(StatusOfBlock(block), StatusCode::kInternal) << block;
    EXPECT_EQ(request_.lent[block], nullptr) << block;
  }
}

}  // namespace
}  // namespace terrace

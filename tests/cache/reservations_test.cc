// Blocks from several writers: nobody sees one before it is whole, no byte is written twice, and no
// death, delay or clear leaves a frame or a wrong byte behind.
#include "cache/reservations.h"

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <utility>

#include "base/checksum.h"
#include "tests/cache/cache_nvme_fixture.h"
#include "tests/cache/frame_spy.h"

namespace terrace {
namespace {

using testing::AsKey;
using testing::CacheNvmeTest;
using testing::CacheTest;
using testing::ChainKeys;
using testing::FillBlock;
using testing::FrameSpy;
using testing::MakeChain;
using testing::SimulatedTime;
using testing::SliceOf;
using testing::StatusText;

constexpr std::uint64_t kAda = 1;  // clients
constexpr std::uint64_t kBob = 2;

/// What both fixtures below do with reservations.
template <typename Base>
class ReservationCalls : public Base {
 protected:
  using Base::cache_;
  using Base::link_;
  using Base::memory_;
  using Base::random_;
  using Base::time_;
  static constexpr std::uint64_t kBlock = Base::kBlockBytes;
  struct Part {
    std::uint64_t offset;
    std::uint64_t length;
  };

  void Begin() {
    cache_->NameReservations(random_, 9, 0);
    space_ = this->Open("acme", "a");
    chain_ = MakeChain("c", 200);
  }
  /// What the writers of a block have; gets and puts of the fixture use slot 0.
  static std::size_t SourceSlot(std::size_t position) { return 128 + position; }
  std::span<std::byte> Source(std::size_t position) {
    return memory_.Slot(SourceSlot(position), kBlock);
  }
  ReserveAnswer Reserve(std::size_t position, std::uint64_t client = kAda,
                        Nanos patience = 10 * kSecond) {
    return cache_->Reserve(
        link_, client,
        {.chain = SliceOf(*space_, chain_, position, 1), .valid_tokens = 0, .patience = patience});
  }
  PutTokenParts Reserved(std::size_t position, std::uint64_t client = kAda,
                         Nanos patience = 10 * kSecond) {
    const ReserveAnswer answer = Reserve(position, client, patience);
    EXPECT_TRUE(answer.status.ok()) << answer.status.ToString();
    EXPECT_EQ(answer.outcome, StatusCode::kOk);
    FillBlock(Source(position), *space_, 0, 0, AsKey(chain_[position]));
    return answer.token;
  }
  WriteRequest Request(std::size_t position, const PutTokenParts& token,
                       const std::vector<Part>& parts, Nanos timeout = kSecond) {
    WriteRequest request{.request_id = ++requests_,
                         .token = token,
                         .fragments = {},
                         .deadline = time_.Now() + timeout};
    for (const Part& part : parts) {
      request.fragments.push_back(
          {.offset = part.offset,
           .pieces = {{.region = 1,
                       .offset = SourceSlot(position) * kBlock + part.offset,
                       .length = part.length}}});
    }
    return request;
  }
  std::string Write(std::size_t position, const PutTokenParts& token,
                    const std::vector<Part>& parts, std::uint64_t client = kAda,
                    Nanos timeout = kSecond) {
    const WriteRequest request = Request(position, token, parts, timeout);
    return StatusText(time_.Run(cache_->Write(link_, client, "acme", request)));
  }
  BatchAnswer CommitAnswer(const PutTokenParts& token, Ack ack = Ack::kCommitted) {
    return time_.Run(cache_->Commit(
        "acme", {.token = token, .deadline = time_.Now() + 10 * kSecond, .ack = ack}));
  }
  std::string Commit(const PutTokenParts& token) { return StatusText(CommitAnswer(token)); }
  std::string Abort(const PutTokenParts& token, Nanos timeout = kSecond) {
    return time_.Run(cache_->Abort("acme", token, time_.Now() + timeout)).ToString();
  }
  std::string Got(std::size_t position) {
    return StatusText(this->Get(space_, chain_, position, 1));
  }
  std::uint64_t Frames() { return cache_->arena().Stats().frames; }

  const Namespace* space_ = nullptr;
  ChainKeys chain_;
  std::uint64_t requests_ = 0;
};

class ReservationsTest : public ReservationCalls<CacheTest> {
 protected:
  void SetUp() override {
    MakeCache(16 << 20);
    Begin();
  }
  void TearDown() override {
    if (cache_ != nullptr) time_.Run(cache_->Close());
    EXPECT_EQ(cache_->Counters().reservations, 0u);
    EXPECT_EQ(cache_->Counters().reservation_bytes, 0u);
    CacheTest::TearDown();
  }
  /// Starts a write and lets it come into flight, without moving time.
  void StartWrite(const WriteRequest& request, std::uint64_t client) {
    scope_.Spawn(SimulatedTime::Store(cache_->Write(link_, client, "acme", request), &started_));
    time_.RunReady();
    ASSERT_FALSE(started_.has_value());
  }
  std::string FinishWrite() {
    while (!started_) {
      if (!time_.Step()) return "hangs";
    }
    time_.RunReady();
    return StatusText(*std::exchange(started_, std::nullopt));
  }
  TaskScope scope_;
  std::optional<BatchAnswer> started_;
};

TEST_F(ReservationsTest, HalvesOfTwoWritersAreOneBlockAfterCommitAndNoneBefore) {
  const PutTokenParts token = Reserved(3);
  EXPECT_EQ(Write(3, token, {{0, kBlock / 2}}), "ok");
  EXPECT_EQ(Got(3), "pending");
  EXPECT_EQ(StatusText(Put(space_, chain_, 3, 1)), "pending");
  EXPECT_EQ(Reserve(3, kBob).outcome, StatusCode::kPending);
  FillBlock(Source(3), *space_, 0, 0, AsKey(chain_[3]));
  EXPECT_EQ(Write(3, token, {{kBlock / 2 + 1, kBlock / 2 - 1}, {kBlock / 2, 1}}, kBob), "ok ok");
  EXPECT_EQ(Got(3), "pending");
  EXPECT_EQ(Commit(token), "ok");
  EXPECT_EQ(Got(3), "ok");
  EXPECT_EQ(Reserve(3).outcome, StatusCode::kExists);
  EXPECT_EQ(Commit(token).substr(0, 7), "expired");
  EXPECT_EQ(Write(3, token, {{0, 1}}).substr(0, 7), "expired");
  EXPECT_EQ(Abort(token).substr(0, 6), "exists");
  ExpectValid();
}

TEST_F(ReservationsTest, OverlapsAndGapsAreRefusedAndTheRestStays) {
  const PutTokenParts token = Reserved(0);
  EXPECT_EQ(Write(0, token, {{100, 100}, {150, 10}, {0, 101}, {199, 1}, {200, 1}}),
            "ok invalid invalid invalid ok");
  EXPECT_EQ(Write(0, token, {{kBlock, 1}, {kBlock - 1, 2}}), "invalid invalid");
  EXPECT_EQ(Commit(token), "invalid: byte 0 of the block was not written");
  EXPECT_EQ(Write(0, token, {{0, 100}}), "ok");
  EXPECT_EQ(Commit(token), "invalid: byte 201 of the block was not written");
  EXPECT_EQ(Write(0, token, {{201, kBlock - 201}}), "ok");
  EXPECT_EQ(Commit(token), "ok");
  EXPECT_EQ(Got(0), "ok");
}

TEST_F(ReservationsTest, BytesOnTheirWayAreNamedAndTaken) {
  const PutTokenParts token = Reserved(0);
  ASSERT_EQ(Write(0, token, {{0, 1000}}), "ok");
  const WriteRequest request = Request(0, token, {{1000, kBlock - 1000}});
  StartWrite(request, kBob);
  EXPECT_EQ(Commit(token), "invalid: byte 1000 of the block is being written");
  EXPECT_EQ(Write(0, token, {{2000, 1}}), "invalid");
  EXPECT_EQ(FinishWrite(), "ok");
  EXPECT_EQ(Commit(token), "ok");
  EXPECT_EQ(Got(0), "ok");
}

TEST_F(ReservationsTest, AWriterThatDiesLeavesTheRestToTheOthers) {
  const PutTokenParts token = Reserved(0);
  EXPECT_EQ(Write(0, token, {{0, 1000}}, kBob), "ok");
  cache_->OnClientGone(kAda);
  EXPECT_EQ(Write(0, token, {{1000, kBlock - 1000}}, kBob), "ok");
  EXPECT_EQ(Commit(token), "ok");
  EXPECT_EQ(Got(0), "ok");
}

TEST_F(ReservationsTest, TheLastWriterThatDiesTakesItAlong) {
  const PutTokenParts token = Reserved(0);
  EXPECT_EQ(Write(0, token, {{0, 1000}}, kBob), "ok");
  cache_->OnClientGone(kBob);
  EXPECT_EQ(Frames(), 1u);
  cache_->OnClientGone(kAda);
  EXPECT_EQ(Frames(), 0u);
  EXPECT_EQ(Write(0, token, {{1000, 1}}, kBob).substr(0, 7), "expired");
  EXPECT_EQ(cache_->Counters().reservations_abandoned, 1u);
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 1)), "ok") << "nothing stands in the way";
}

TEST_F(ReservationsTest, APatienceThatPassesWithoutAWriteEndsIt) {
  const Nanos start = time_.Now();
  const PutTokenParts slow = Reserved(0, kAda, 10 * kSecond);
  const PutTokenParts token = Reserved(1, kAda, 2 * kSecond);
  time_.RunUntil(start + 1900 * kMillisecond);
  EXPECT_EQ(Write(1, token, {{0, 1}}), "ok");  // begins anew
  time_.RunUntil(start + 3800 * kMillisecond);
  EXPECT_EQ(Write(1, token, {{1, 1}}), "ok");
  time_.RunUntil(time_.Now() + 2001 * kMillisecond);
  EXPECT_EQ(Write(1, token, {{2, 1}}).substr(0, 7), "expired");
  EXPECT_EQ(cache_->Counters().reservations_expired, 1u);
  EXPECT_EQ(Frames(), 1u) << "the other one stays";
  EXPECT_EQ(Abort(token), "ok");
  EXPECT_EQ(Write(0, slow, {{0, 1}}), "ok");
  EXPECT_EQ(Abort(slow), "ok");
}

TEST_F(ReservationsTest, BytesThatMayStillComeLateAreNobodyElses) {
  const PutTokenParts token = Reserved(0);
  link_.SetFaults({.stall = 1, .quarantine_max = 5 * kSecond});
  std::string first = Write(0, token, {{0, 1000}}, kBob, 10 * kMillisecond);
  EXPECT_EQ(first, "timeout");
  ASSERT_EQ(link_.quarantined(), 1u);
  link_.SetFaults({});
  // The link will write noise there when its quarantine ends.
  EXPECT_EQ(Write(0, token, {{0, 1000}}), "invalid");
  EXPECT_EQ(Commit(token), "invalid: byte 0 of the block is being written");
  time_.RunUntil(time_.Now() + 6 * kSecond);
  EXPECT_EQ(Write(0, token, {{0, 1000}, {1000, kBlock - 1000}}), "ok ok");
  EXPECT_EQ(Commit(token), "ok");
  EXPECT_EQ(Got(0), "ok");
}

TEST_F(ReservationsTest, AbortWaitsForWhatIsReadFromTheWritersMemory) {
  const PutTokenParts token = Reserved(0);
  const WriteRequest request = Request(0, token, {{0, 1000}});
  StartWrite(request, kBob);
  EXPECT_EQ(Abort(token, 0).substr(0, 7), "timeout");
  EXPECT_EQ(Frames(), 1u) << "a link still writes into it";
  EXPECT_EQ(Abort(token), "ok");
  EXPECT_EQ(FinishWrite(), "expired");
  EXPECT_EQ(Frames(), 0u);
  EXPECT_EQ(Got(0), "miss");
  EXPECT_EQ(Commit(token).substr(0, 7), "expired");
  EXPECT_EQ(cache_->Counters().reservations_aborted, 1u);
}

TEST_F(ReservationsTest, AnAbortOrAClearInTheTurnOfTheCommitTakesTheFrameFromNobody) {
  for (const bool aborts : {true, false}) {
    const PutTokenParts token = Reserved(0);
    EXPECT_EQ(Write(0, token, {{0, kBlock}}), "ok");
    std::optional<std::uint64_t> cleared;
    std::optional<Status> aborted;
    scope_.Spawn(SimulatedTime::Store(
        cache_->Commit("acme", {.token = token, .deadline = time_.Now() + kSecond, .ack = {}}),
        &started_));
    if (aborts) {
      scope_.Spawn(
          SimulatedTime::Store(cache_->Abort("acme", token, time_.Now() + kSecond), &aborted));
    } else {
      scope_.Spawn(SimulatedTime::Store(cache_->Clear(space_->id), &cleared));
    }
    EXPECT_EQ(FinishWrite().substr(0, 7), aborts ? "expired" : "retry");
    EXPECT_EQ(Frames(), 0u);
    EXPECT_EQ(Got(0), "miss");
  }
}

TEST_F(ReservationsTest, ABlockThatIsClearedAnswersItsCommitAsAPutDoes) {
  const PutTokenParts token = Reserved(0);
  EXPECT_EQ(Write(0, token, {{0, kBlock}}), "ok");
  EXPECT_EQ(time_.Run(cache_->Remove(SliceOf(*space_, chain_, 0, 1))).blocks[0].status,
            StatusCode::kMiss)
      << "not stored yet";
  EXPECT_EQ(time_.Run(cache_->Clear(space_->id)), 0u);
  EXPECT_EQ(Frames(), 0u);
  EXPECT_EQ(StatusText(Put(space_, chain_, 0, 1)), "ok") << "nothing stands in the way";
  EXPECT_EQ(Write(0, token, {{0, 1}}), "invalid");
  EXPECT_EQ(Commit(token), "retry");
  EXPECT_EQ(Got(0), "ok");
  EXPECT_EQ(Commit(token).substr(0, 7), "expired");
}

TEST_F(ReservationsTest, AFragmentThatHasChangedInTheFrameIsNeverCommitted) {
  const PutTokenParts token = Reserved(0);
  FrameSpy spy(memory_.memory());
  const WriteRequest request = Request(0, token, {{0, 7777}, {7777, kBlock - 7777}});
  EXPECT_EQ(StatusText(time_.Run(cache_->Write(spy, kAda, "acme", request))), "ok ok");
  spy.last[40'000] ^= std::byte{4};
  EXPECT_EQ(Commit(token), "corrupt");
  EXPECT_EQ(Got(0), "miss");
  EXPECT_EQ(Frames(), 0u);
}

TEST_F(ReservationsTest, AWholeFragmentThatHasChangedIsStoredWithTheSumsItCameWith) {
  const PutTokenParts token = Reserved(0);
  FrameSpy spy(memory_.memory());
  const WriteRequest request = Request(0, token, {{0, kBlock}});
  EXPECT_EQ(StatusText(time_.Run(cache_->Write(spy, kAda, "acme", request))), "ok");
  spy.last[40'000] ^= std::byte{4};
  EXPECT_EQ(Commit(token), "ok");
  EXPECT_EQ(Got(0), "corrupt") << "who gets it over a network is told";
  EXPECT_EQ(Got(0), "miss") << "and it is not offered again";
}

TEST_F(ReservationsTest, TokensOfOthersAreAsUnknownAsNone) {
  const PutTokenParts token = Reserved(0);
  const auto status_of = [this](const std::string& tenant, const PutTokenParts& other) {
    const WriteRequest request = Request(0, other, {{0, 1}});
    const Status written = time_.Run(cache_->Write(link_, kBob, tenant, request)).status;
    EXPECT_EQ(time_.Run(cache_->Commit(tenant, {.token = other, .deadline = time_.Now() + kSecond}))
                  .status.ToString(),
              written.ToString());
    return written.ToString();
  };
  const std::string unknown = "expired: token: there is no such reservation (any more)";
  EXPECT_EQ(status_of("other", token), unknown);
  PutTokenParts other = token;
  other.nonce[1] ^= 1;
  EXPECT_EQ(status_of("acme", other), unknown);
  other = token;
  ++other.slot;
  EXPECT_EQ(status_of("acme", other), unknown);
  other = token;
  ++other.incarnation;
  EXPECT_EQ(status_of("acme", other),
            "expired: token is of another daemon, or of an earlier run of this one");
  other = token;
  other.version = 2;
  EXPECT_EQ(status_of("acme", other), "invalid: token is of version 2, not 1");
  EXPECT_TRUE(time_.Run(cache_->Abort("other", token, time_.Now() + kSecond)).ok());
  EXPECT_EQ(Write(0, token, {{0, 1}}), "ok") << "another tenant's abort did nothing";
}

TEST_F(ReservationsTest, OneClientAndAllOfThemHaveALimitThatIsNamed) {
  // 16 MiB: 2 MiB for a client, 4 MiB for all.
  std::vector<PutTokenParts> tokens;
  for (std::size_t i = 0; i < 32; ++i) tokens.push_back(Reserved(i, kAda));
  Status refused = Reserve(32, kAda).status;
  EXPECT_EQ(refused.ToString(),
            "retry: this client has 32 reservations of 2097152 bytes open: at most 256 and "
            "2097152 bytes");
  for (std::size_t i = 32; i < 64; ++i) tokens.push_back(Reserved(i, kBob));
  refused = Reserve(64, 3).status;
  EXPECT_EQ(refused.ToString(),
            "retry: all clients have 64 reservations of 4194304 bytes open: at most 1024 and "
            "4194304 bytes");
  EXPECT_EQ(cache_->Counters().reservations_refused, 2u);
  EXPECT_EQ(Abort(tokens[0]), "ok");
  EXPECT_EQ(Reserve(64, kAda).outcome, StatusCode::kOk);
  cache_->OnClientGone(kAda);
  cache_->OnClientGone(kBob);
  EXPECT_EQ(Frames(), 0u);
  EXPECT_EQ(cache_->Counters().reservations, 0u);
}

TEST_F(ReservationsTest, AReservationIsOfOneBlockOfANamespaceThatExists) {
  const auto status_of = [this](const ChainSlice& chain, std::uint32_t tokens) {
    return cache_
        ->Reserve(link_, kAda, {.chain = chain, .valid_tokens = tokens, .patience = kSecond})
        .status.ToString();
  };
  EXPECT_EQ(status_of(SliceOf(*space_, chain_, 0, 2), 0),
            "invalid: runs: a reservation is of 1 block, not of 2");
  EXPECT_EQ(status_of(SliceOf(*space_, chain_, 0, 1), 17),
            "invalid: valid_tokens is 17, a block has 16");
  ChainSlice unknown = SliceOf(*space_, chain_, 0, 1);
  unknown.namespace_id = 99;
  EXPECT_EQ(status_of(unknown, 0).substr(0, 7), "invalid");
  EXPECT_EQ(Frames(), 0u);
}

/// Writers that do whatever comes to their mind, over a link that stalls and corrupts.
class Storm : public ReservationsTest {
 public:
  explicit Storm(std::uint64_t seed) : draw_(seed) {}
  void TestBody() override {}
  void Play() {
    SetUp();
    link_.SetFaults({.stall = 0.05, .corruption = 0.05, .quarantine_max = 50 * kMillisecond});
    for (int step = 0; step < 300; ++step) {
      const std::size_t position = draw_.Below(4);
      const std::uint64_t client = 1 + draw_.Below(3);
      if (open_.contains(position)) {
        Act(position, client);
      } else {
        Open(position, client);
      }
      time_.RunUntil(time_.Now() + static_cast<Nanos>(draw_.Below(200)) * kMicrosecond);
      ExpectValid();
    }
    while (writing_.live() > 0) ASSERT_TRUE(time_.Step());
    time_.RunUntil(time_.Now() + kSecond);
    TearDown();
    EXPECT_EQ(cache_->arena().Pins(), 0u);
    (void)time_.Run(cache_->Clear(space_->id));
    EXPECT_EQ(Frames(), 0u);
    cache_.reset();
  }
  std::uint64_t commits = 0;

 private:
  void Open(std::size_t position, std::uint64_t client) {
    const ReserveAnswer answer = Reserve(position, client, 200 * kMillisecond);
    if (!answer.status.ok() || answer.outcome != StatusCode::kOk) return;
    FillBlock(Source(position), *space_, 0, 0, AsKey(chain_[position]));
    open_[position] = answer.token;
  }
  void StartWriting(std::size_t position, std::uint64_t client) {
    std::vector<Part> parts;
    for (std::uint64_t i = 0; i < 3; ++i) {
      const std::uint64_t unit = kBlock / 8;
      parts.push_back({draw_.Below(8) * unit, unit * (1 + draw_.Below(2))});
    }
    auto& [request, answer] = writes_.emplace_back(
        Request(position, open_.at(position), parts, 20 * kMillisecond), std::nullopt);
    writing_.Spawn(SimulatedTime::Store(cache_->Write(link_, client, "acme", request), &answer));
  }
  void TryCommit(std::size_t position) {
    const BatchAnswer answer = CommitAnswer(open_.at(position));
    if (answer.status.code() != StatusCode::kInvalid) open_.erase(position);
    if (!answer.status.ok() || answer.blocks[0].status != StatusCode::kOk) return;
    ++commits;
    EXPECT_NE(Got(position), "miss");
  }
  void Act(std::size_t position, std::uint64_t client) {
    const std::uint64_t what = draw_.Below(100);
    if (what < 60) {
      StartWriting(position, client);
    } else if (what < 85) {
      TryCommit(position);
    } else if (what < 88) {
      (void)Abort(open_.at(position), 0);
      open_.erase(position);
    } else if (what < 91) {
      cache_->OnClientGone(client);
    } else if (what < 94) {
      (void)time_.Run(cache_->Clear(space_->id));
    } else if (what < 97) {
      (void)time_.Run(cache_->Remove(SliceOf(*space_, chain_, position, 1)));
    } else {
      time_.RunUntil(time_.Now() + static_cast<Nanos>(draw_.Below(100)) * kMillisecond);
    }
  }

  SeededRandom draw_;
  std::map<std::size_t, PutTokenParts> open_;
  TaskScope writing_;
  std::list<std::pair<WriteRequest, std::optional<BatchAnswer>>> writes_;
};

/// A block that can be got has the right bytes (Get looks), and at the end no frame is left.
TEST(ReservationStormTest, RandomWritersNeverMakeAWrongBlock) {
  std::uint64_t commits = 0;
  for (std::uint64_t seed = 1; seed <= 60 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Storm storm(seed);
    storm.Play();
    commits += storm.commits;
  }
  EXPECT_GT(commits, 50u) << "the storm commits something";
}

class ReservationsNvmeTest : public ReservationCalls<CacheNvmeTest> {};

TEST_F(ReservationsNvmeTest, ADurableCommitSurvivesPowerLoss) {
  MakeMedia();
  Begin();
  const PutTokenParts token = Reserved(2);
  EXPECT_EQ(Write(2, token, {{1, kBlock - 1}, {0, 1}}), "ok ok");
  const BatchAnswer answer = CommitAnswer(token, Ack::kDurable);
  ASSERT_EQ(StatusText(answer), "ok");
  EXPECT_EQ(answer.blocks[0].ack, Ack::kDurable);
  EXPECT_EQ(answer.blocks[0].not_durable, NotDurable::kNone);
  const PutTokenParts open = Reserved(5);
  EXPECT_EQ(Write(5, open, {{0, kBlock}}), "ok");
  LosePower();
  EXPECT_EQ(Got(2), "ok");
  EXPECT_EQ(Got(5), "miss") << "it was not committed";
  Close();
}

}  // namespace
}  // namespace terrace

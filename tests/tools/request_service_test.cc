// RequestService: what one client may do to the cache by its messages, and what it may not.
#include "tools/terraced/service/request_service.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "base/random.h"
#include "base/sim_link.h"
#include "cache/cache.h"
#include "tools/terraced/service/replies.h"
#include "transport/codec.h"

namespace terrace {
namespace {

constexpr std::uint64_t kBlockBytes = 64 << 10;

class TestPeer final : public Peer {
 public:
  TestPeer(std::uint64_t id, std::string tenant, Scheduler& scheduler, Random& random,
           const SimMemory& memory)
      : id_(id), tenant_(std::move(tenant)), link_(scheduler, random, memory, {}) {}
  Link& link() noexcept override { return link_; }
  std::uint64_t id() const noexcept override { return id_; }
  const std::string& tenant() const noexcept override { return tenant_; }
  const std::string& name() const noexcept override { return tenant_; }
  const std::string& address() const noexcept override { return tenant_; }
  SimLink& sim() { return link_; }

 private:
  const std::uint64_t id_;
  const std::string tenant_;
  SimLink link_;
};

/// One reactor's service over simulated time, with clients that send hand-made messages.
class RequestServiceTest : public ::testing::Test {
 protected:
  RequestServiceTest() : scheduler_(clock_), scope_(scheduler_), random_(1), registry_(16 << 20) {
    memory_.Register(bytes_);
    CacheOptions options;
    options.arena.capacity_bytes = 16 << 20;
    cache_ = std::move(Cache::Create(options, registry_, clock_)).value();
    service_ = std::make_unique<RequestService>(
        *cache_, registry_, ShardPlace{.index = 0, .count = 1},
        [this](const std::vector<ClientsSeen>& clients) {
          seen_ = clients;
          return std::vector<StatEntry>{{.name = "terrace_test_total", .labels = "", .value = 7}};
        });
  }
  ~RequestServiceTest() override { RunAll(); }

  std::shared_ptr<TestPeer> Connect(const std::string& tenant) {
    auto peer = std::make_shared<TestPeer>(++peers_, tenant, scheduler_, random_, memory_);
    service_->OnConnect(peer);
    return peer;
  }

  void RunAll() {
    for (;;) {
      if (scheduler_.RunReady(1) > 0) continue;
      if (scheduler_.NextTimer() == kForever) return;
      clock_.AdvanceTo(scheduler_.NextTimer());
      scheduler_.RunTimers(clock_.Now());
    }
  }

  void Deliver(const std::shared_ptr<TestPeer>& peer, std::vector<std::byte> bytes) {
    const Result<const wire::Message*> message = VerifyMessage(bytes);
    ASSERT_TRUE(message.ok()) << message.status().ToString();
    const wire::Message& verified = **message;
    service_->OnRequest(peer, std::move(bytes), verified, clock_.Now() + kSecond);
  }

  /// Delivers, runs everything, and returns the one reply.
  const wire::Message& Ask(const std::shared_ptr<TestPeer>& peer, std::vector<std::byte> bytes) {
    Deliver(peer, std::move(bytes));
    RunAll();
    replies_ = peer->sim().TakeMessages();
    EXPECT_EQ(replies_.size(), 1U);
    return **VerifyMessage(replies_.at(0));
  }

  std::uint32_t Open(const std::shared_ptr<TestPeer>& peer, std::uint32_t block_tokens = 512) {
    const wire::Message& reply =
        Ask(peer, BuildMessage<wire::OpenNamespace>({.request_id = 1}, [&](auto& builder) {
              const auto name = builder.CreateString("space");
              const auto text = builder.CreateString("x");
              const auto group = wire::CreateGroup(builder, 0, text, kBlockBytes);
              const auto groups = builder.CreateVector(&group, 1);
              return wire::CreateOpenNamespace(builder, name, text, text, text, text, text, text,
                                               block_tokens, 1, 64, groups);
            }));
    const auto* opened = reply.body_as_OpenNamespaceReply();
    return opened == nullptr ? 0 : opened->namespace_id();
  }

  template <typename Table, typename Create>
  std::vector<std::byte> Keyed(std::uint64_t request_id, const std::string& key, Create create) {
    return BuildMessage<Table>({.request_id = request_id, .hints = hints_}, [&](auto& builder) {
      KeyRun run;
      run.placement = std::as_bytes(std::span(key));
      run.keys = {std::as_bytes(std::span(key))};
      const auto offset = BuildRun(builder, run);
      return create(builder, builder.CreateVector(&offset, 1));
    });
  }

  std::vector<std::byte> MatchOf(std::uint32_t space, const std::string& key) {
    return Keyed<wire::Match>(2, key, [&](auto& builder, auto runs) {
      return wire::CreateMatch(builder, space, 0, 0, runs);
    });
  }

  template <typename Table>
  std::vector<std::byte> TransferOf(std::uint64_t id, std::uint32_t space, const std::string& key,
                                    std::uint64_t piece_bytes = kBlockBytes, std::uint8_t ack = 0) {
    return Keyed<Table>(id, key, [&](auto& builder, auto runs) {
      const wire::Piece piece(1, 0, 0, piece_bytes);
      const auto pieces = builder.CreateVectorOfStructs(&piece, 1);
      const std::uint16_t count = 1;
      const auto counts = builder.CreateVector(&count, 1);
      typename Table::Builder table(builder);
      table.add_namespace_id(space);
      table.add_runs(runs);
      table.add_pieces(pieces);
      table.add_piece_counts(counts);
      if constexpr (std::is_same_v<Table, wire::Put>) table.add_ack(ack);
      return table.Finish();
    });
  }

  ManualClock clock_;
  Scheduler scheduler_;
  Scheduler::CurrentScope scope_;
  SeededRandom random_;
  NamespaceRegistry registry_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kBlockBytes);
  SimMemory memory_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<RequestService> service_;
  std::vector<ClientsSeen> seen_;  // that the last Stat was told of
  std::uint64_t peers_ = 0;
  std::vector<std::vector<std::byte>> replies_;
  const RequestHints* hints_ = nullptr;  // of what is made next
};

StatusCode ErrorOf(const wire::Message& reply) {
  const auto* error = reply.body_as_ErrorReply();
  return error == nullptr ? StatusCode::kOk : static_cast<StatusCode>(error->status());
}

TEST_F(RequestServiceTest, PutThenMatchThenGetGivesTheBytesBack) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  std::memset(bytes_.data(), 0x42, bytes_.size());
  const wire::Message& put = Ask(peer, TransferOf<wire::Put>(3, space, "key"));
  ASSERT_NE(put.body_as_BlocksReply(), nullptr);
  EXPECT_EQ(put.request_id(), 3U);
  EXPECT_EQ(put.body_as_BlocksReply()->statuses()->Get(0), 0);
  const wire::Message& match = Ask(peer, MatchOf(space, "key"));
  EXPECT_EQ(match.body_as_MatchReply()->tiers()->size(), 1U);
  std::memset(bytes_.data(), 0xee, bytes_.size());
  const wire::Message& get = Ask(peer, TransferOf<wire::Get>(4, space, "key"));
  EXPECT_EQ(get.body_as_BlocksReply()->statuses()->Get(0), 0);
  EXPECT_EQ(bytes_, std::vector<std::byte>(kBlockBytes, std::byte{0x42}));
}

TEST_F(RequestServiceTest, AnotherTenantsNamespaceIdIsAsUnknownAsNone) {
  const auto owner = Connect("owner");
  const std::uint32_t space = Open(owner);
  Ask(owner, TransferOf<wire::Put>(3, space, "secret"));
  const auto thief = Connect("thief");
  const wire::Message& stolen = Ask(thief, MatchOf(space, "secret"));
  EXPECT_EQ(ErrorOf(stolen), StatusCode::kInvalid);
  const std::string said = stolen.body_as_ErrorReply()->message()->str();
  const wire::Message& unknown = Ask(thief, MatchOf(space + 1000, "secret"));
  EXPECT_EQ(ErrorOf(unknown), StatusCode::kInvalid);
  EXPECT_EQ(said.find("owner"), std::string::npos) << "the answer must not tell who owns it";
  EXPECT_EQ(ErrorOf(Ask(thief, TransferOf<wire::Get>(5, space, "secret"))), StatusCode::kInvalid);
  EXPECT_EQ(ErrorOf(Ask(thief, TransferOf<wire::Put>(6, space, "secret"))), StatusCode::kInvalid);
}

TEST_F(RequestServiceTest, TheSameNameWithAnotherFingerprintIsAnErrorNotAMiss) {
  const auto peer = Connect("a");
  ASSERT_NE(Open(peer), 0U);
  EXPECT_EQ(Open(peer, 256), 0U);
  EXPECT_EQ(ErrorOf(**VerifyMessage(replies_.at(0))), StatusCode::kIncompatible);
}

TEST_F(RequestServiceTest, PiecesThatDoNotAddUpToABlockAreRefused) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  EXPECT_EQ(ErrorOf(Ask(peer, TransferOf<wire::Put>(3, space, "key", kBlockBytes - 1))),
            StatusCode::kInvalid);
  const wire::Message& no_pieces =
      Ask(peer, Keyed<wire::Get>(4, "key", [&](auto& builder, auto runs) {
            return wire::CreateGet(builder, space, 0, 0, runs);
          }));
  EXPECT_EQ(ErrorOf(no_pieces), StatusCode::kInvalid);
}

TEST_F(RequestServiceTest, OnlyAPutThatAskedForDurableIsToldWhetherItIs) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  const auto put = [&](std::uint64_t id, std::uint8_t ack) {
    return Ask(peer, TransferOf<wire::Put>(id, space, "key", kBlockBytes, ack))
        .body_as_BlocksReply();
  };
  const wire::BlocksReply* committed = put(3, 0);
  ASSERT_NE(committed, nullptr);
  EXPECT_EQ(committed->acks(), nullptr);
  EXPECT_EQ(committed->not_durable(), nullptr);
  const wire::BlocksReply* durable = put(4, 1);
  ASSERT_NE(durable, nullptr);
  ASSERT_NE(durable->acks(), nullptr);
  ASSERT_NE(durable->not_durable(), nullptr);
  EXPECT_EQ(durable->acks()->size(), 1U);
  EXPECT_EQ(durable->not_durable()->size(), 1U);
}

TEST_F(RequestServiceTest, AnAckOfTheFutureIsRefusedByName) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  const wire::Message& reply = Ask(peer, TransferOf<wire::Put>(3, space, "key", kBlockBytes, 7));
  EXPECT_EQ(ErrorOf(reply), StatusCode::kInvalid);
  EXPECT_EQ(reply.body_as_ErrorReply()->message()->str(),
            "ack is 7, not 0 (committed) or 1 (durable)");
}

TEST(Replies, EveryBlockKeepsItsOwnAck) {
  BatchAnswer answer;
  answer.blocks = {{.status = StatusCode::kOk,
                    .tier = TierKind::kDram,
                    .valid_tokens = 5,
                    .ack = Ack::kDurable,
                    .not_durable = NotDurable::kNone},
                   {.status = StatusCode::kExists,
                    .tier = TierKind::kDram,
                    .valid_tokens = 6,
                    .ack = Ack::kCommitted,
                    .not_durable = NotDurable::kTimeout}};
  const std::vector<std::byte> bytes = MakeBlocksReply(9, answer, Ack::kDurable);
  const wire::BlocksReply& reply = *(*VerifyMessage(bytes))->body_as_BlocksReply();
  EXPECT_EQ(reply.statuses()->Get(1), static_cast<std::uint8_t>(StatusCode::kExists));
  EXPECT_EQ(reply.tiers()->Get(1), static_cast<std::uint8_t>(TierKind::kDram));
  EXPECT_EQ(reply.valid_tokens()->Get(1), 6U);
  ASSERT_EQ(reply.acks()->size(), 2U);
  EXPECT_EQ(reply.acks()->Get(0), static_cast<std::uint8_t>(Ack::kDurable));
  EXPECT_EQ(reply.acks()->Get(1), static_cast<std::uint8_t>(Ack::kCommitted));
  ASSERT_EQ(reply.not_durable()->size(), 2U);
  EXPECT_EQ(reply.not_durable()->Get(0), 0U);
  EXPECT_EQ(reply.not_durable()->Get(1), static_cast<std::uint8_t>(NotDurable::kTimeout));
}

TEST_F(RequestServiceTest, HintsOutOfBoundsAreCountedAndTheRequestGoesOn) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  const RequestHints absurd{.session = std::string(65, 's'),
                            .category = std::string(4000, 'c'),
                            .turn = 65536,
                            .continuation = static_cast<Continuation>(77)};
  hints_ = &absurd;
  const wire::Message& put = Ask(peer, TransferOf<wire::Put>(3, space, "key"));
  ASSERT_NE(put.body_as_BlocksReply(), nullptr);
  EXPECT_EQ(put.body_as_BlocksReply()->statuses()->Get(0), 0);
  for (std::size_t fault = 0; fault < kHintFaultNames.size(); ++fault) {
    const bool said = fault != static_cast<std::size_t>(HintFault::kPrefillRate);
    EXPECT_EQ(service_->Hints().ignored[fault], said ? 1U : 0U) << kHintFaultNames[fault];
  }
  for (const auto& taken : service_->Hints().taken) EXPECT_EQ(taken, 0U);
  // One field that is wrong takes nothing from the others.
  const RequestHints mixed{.session = "s",
                           .category = std::string(65, 'c'),
                           .turn = 1,
                           .continuation = Continuation::kDone};
  hints_ = &mixed;
  const wire::Message& get = Ask(peer, TransferOf<wire::Get>(4, space, "key"));
  EXPECT_EQ(get.body_as_BlocksReply()->statuses()->Get(0), 0);
  const auto taken = [this](HintKind kind) {
    return service_->Hints().taken[static_cast<std::size_t>(kind)].load();
  };
  EXPECT_EQ(taken(HintKind::kSession), 1U);
  EXPECT_EQ(taken(HintKind::kTurn), 1U);
  EXPECT_EQ(taken(HintKind::kCategory), 0U);
  EXPECT_EQ(taken(HintKind::kDone), 1U);
}

TEST_F(RequestServiceTest, ARunOfAnotherShardIsRefused) {
  RequestService half(*cache_, registry_, ShardPlace{.index = 1, .count = 2},
                      [](const auto& /*clients*/) { return std::vector<StatEntry>(); });
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);  // on the other reactor: its id is good on this one too
  half.OnConnect(peer);
  int refused = 0;
  for (int key = 0; key < 64; ++key) {
    std::vector<std::byte> bytes = MatchOf(space, "key" + std::to_string(key));
    const wire::Message& message = **VerifyMessage(bytes);
    half.OnRequest(peer, std::move(bytes), message, clock_.Now() + kSecond);
    replies_ = peer->sim().TakeMessages();
    if (ErrorOf(**VerifyMessage(replies_.at(0))) == StatusCode::kInvalid) ++refused;
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, 64);
  Result<ChainSlice> foreign = Status::Internal("no key of the other shard was found");
  for (int key = 0; key < 64 && foreign.code() == StatusCode::kInternal; ++key) {
    const std::string text = "key" + std::to_string(key);
    if (ShardOf(space, std::as_bytes(std::span(text)), 2) == 1) continue;
    const std::vector<std::byte> bytes = MatchOf(space, text);
    foreign = DecodeChain(space, 0, 0, (*VerifyMessage(bytes))->body_as_Match()->runs(),
                          {.index = 1, .count = 2});
  }
  EXPECT_EQ(foreign.code(), StatusCode::kInvalid);
  EXPECT_NE(foreign.status().message().find("another shard"), std::string::npos);
}

TEST_F(RequestServiceTest, ACancelEndsARequestBeforeItsDeadline) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  Ask(peer, TransferOf<wire::Put>(3, space, "key"));
  Deliver(peer, TransferOf<wire::Get>(4, space, "key"));
  service_->OnCancel(peer, 4);  // before the flow has taken its first step
  RunAll();
  replies_ = peer->sim().TakeMessages();
  ASSERT_EQ(replies_.size(), 1U);
  const auto* blocks = (*VerifyMessage(replies_[0]))->body_as_BlocksReply();
  ASSERT_NE(blocks, nullptr);
  EXPECT_EQ(static_cast<StatusCode>(blocks->statuses()->Get(0)), StatusCode::kTimeout);
}

TEST_F(RequestServiceTest, ASecondRequestOfOneIdIsRefusedWhileTheFirstRuns) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  Deliver(peer, TransferOf<wire::Put>(3, space, "one"));
  Deliver(peer, TransferOf<wire::Put>(3, space, "two"));
  RunAll();
  replies_ = peer->sim().TakeMessages();
  ASSERT_EQ(replies_.size(), 2U);
  EXPECT_EQ(ErrorOf(**VerifyMessage(replies_[0])), StatusCode::kInvalid);
  EXPECT_NE((*VerifyMessage(replies_[1]))->body_as_BlocksReply(), nullptr);
}

TEST_F(RequestServiceTest, APeerThatGoesInMidRequestLeavesNothingBehind) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  Deliver(peer, TransferOf<wire::Put>(3, space, "key"));
  scheduler_.RunReady(16);  // the pull has begun
  peer->sim().Close();
  service_->OnDisconnect(peer, Status(StatusCode::kPeerDead));
  RunAll();
  EXPECT_EQ(cache_->FlowsInProgress(), 0U);
  EXPECT_TRUE(cache_->Validate().ok());
  const auto next = Connect("a");
  EXPECT_EQ(Ask(next, MatchOf(Open(next), "key")).body_as_MatchReply()->tiers()->size(), 0U);
}

TEST_F(RequestServiceTest, AReplySentAsARequestIsRefused) {
  const auto peer = Connect("a");
  EXPECT_EQ(ErrorOf(Ask(peer, BuildMessage<wire::Empty>({.request_id = 9}))),
            StatusCode::kUnsupported);
}

TEST_F(RequestServiceTest, OperatorsSeeAndClearOnlyTheirTenant) {
  const auto peer = Connect("a");
  const std::uint32_t space = Open(peer);
  Ask(peer, TransferOf<wire::Put>(3, space, "key"));
  const auto other = Connect("b");
  EXPECT_EQ(Ask(other, BuildMessage<wire::ListNamespaces>({.request_id = 5}))
                .body_as_ListNamespacesReply()
                ->namespaces()
                ->size(),
            0U);
  const auto clear = [&](std::uint64_t id) {
    return BuildMessage<wire::ClearNamespace>({.request_id = id}, [&](auto& builder) {
      return wire::CreateClearNamespace(builder, builder.CreateString("space"));
    });
  };
  EXPECT_EQ(ErrorOf(Ask(other, clear(6))), StatusCode::kMiss);
  const wire::Message& listed = Ask(peer, BuildMessage<wire::ListNamespaces>({.request_id = 7}));
  const auto* spaces = listed.body_as_ListNamespacesReply()->namespaces();
  ASSERT_EQ(spaces->size(), 1U);
  EXPECT_EQ(spaces->Get(0)->blocks(), 1U);
  EXPECT_EQ(spaces->Get(0)->bytes(), kBlockBytes);
  EXPECT_EQ(Ask(peer, clear(8)).body_as_ClearNamespaceReply()->blocks(), 1U);
  EXPECT_EQ(Ask(peer, BuildMessage<wire::Stat>({.request_id = 9}))
                .body_as_StatReply()
                ->samples()
                ->Get(0)
                ->value(),
            7);
  // Each client with its link, of the one that asks its tenant only.
  ASSERT_EQ(seen_.size(), 1U);
  EXPECT_EQ(seen_[0].name, peer->name());
  EXPECT_EQ(seen_[0].link, peer->link().kind());
  EXPECT_EQ(seen_[0].connections, 1U);
}

TEST_F(RequestServiceTest, HintsThatMakeNoSenseAreRefusedByName) {
  const auto peer = Connect("acme");
  const std::uint32_t space = Open(peer);
  const auto stranger = Connect("rival");
  const auto refused = [&](const std::shared_ptr<TestPeer>& by, std::vector<std::byte> bytes,
                           const char* what) {
    const auto* error = Ask(by, std::move(bytes)).body_as_ErrorReply();
    ASSERT_NE(error, nullptr) << what;
    EXPECT_EQ(error->status(), static_cast<std::uint8_t>(StatusCode::kInvalid)) << what;
    EXPECT_NE(error->message()->str().find(what), std::string::npos) << error->message()->str();
  };
  const auto prefetch = [&](std::uint8_t tier) {
    return Keyed<wire::Prefetch>(3, "k", [&](auto& builder, auto runs) {
      return wire::CreatePrefetch(builder, space, 0, 0, runs, tier, 1);
    });
  };
  const auto retain = [&](const std::string& label, std::uint32_t time_ms) {
    return Keyed<wire::Retain>(4, "k", [&](auto& builder, auto runs) {
      const auto text = builder.CreateString(label);
      return wire::CreateRetain(builder, space, 0, 0, runs, text, time_ms);
    });
  };
  const auto touch = [&](std::uint32_t group) {
    return Keyed<wire::Touch>(5, "k", [&](auto& builder, auto runs) {
      return wire::CreateTouch(builder, space, group, 0, runs);
    });
  };
  const auto prefix = Keyed<wire::RemovePrefix>(6, "k", [&](auto& builder, auto runs) {
    return wire::CreateRemovePrefix(builder, space, runs);
  });
  const auto dram = static_cast<std::uint8_t>(TierKind::kDram);
  refused(peer, prefetch(9), "tier");
  refused(peer, retain("", 1000), "label");
  refused(peer, retain(std::string(129, 'x'), 1000), "label");
  refused(peer, retain("label", 0), "time_ms");
  refused(peer, retain("label", 24 * 3600 * 1000 + 1), "time_ms");
  refused(peer, touch(7), "group");
  refused(
      peer,
      BuildMessage<wire::ReleaseRetained>(
          {.request_id = 7}, [](auto& builder) { return wire::CreateReleaseRetained(builder); }),
      "label");
  for (auto& bytes : {prefetch(dram), retain("label", 1000), touch(0), prefix}) {
    refused(stranger, bytes, "none of this tenant");
  }
}

TEST_F(RequestServiceTest, HintsAreAnsweredAndAPeerThatGoesInTheMiddleLeavesNothing) {
  const auto peer = Connect("acme");
  const std::uint32_t space = Open(peer);
  Ask(peer, TransferOf<wire::Put>(2, space, "k"));
  const auto retain = Keyed<wire::Retain>(3, "k", [&](auto& builder, auto runs) {
    const auto text = builder.CreateString("label");
    return wire::CreateRetain(builder, space, 0, 0, runs, text, 1000);
  });
  const auto* kept = Ask(peer, retain).body_as_BlocksReply();
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(kept->statuses()->Get(0), static_cast<std::uint8_t>(StatusCode::kOk));
  const auto prefix = Keyed<wire::RemovePrefix>(4, "k", [&](auto& builder, auto runs) {
    return wire::CreateRemovePrefix(builder, space, runs);
  });
  Deliver(peer, prefix);
  service_->OnDisconnect(peer, Status(StatusCode::kPeerDead, "gone"));
  RunAll();
  const auto again = Connect("acme");
  const auto release = BuildMessage<wire::ReleaseRetained>({.request_id = 5}, [](auto& builder) {
    return wire::CreateReleaseRetained(builder, builder.CreateString("label"));
  });
  const auto* count = Ask(again, release).body_as_CountReply();
  ASSERT_NE(count, nullptr);
  EXPECT_EQ(count->blocks(), 1U) << "it was given up before it began; labels outlive their peer";
  const auto* removed = Ask(again, prefix).body_as_CountReply();
  ASSERT_NE(removed, nullptr);
  EXPECT_EQ(removed->blocks(), 1U);
  EXPECT_EQ(cache_->FlowsInProgress(), 0U);
}

}  // namespace
}  // namespace terrace

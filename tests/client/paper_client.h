// PaperClient: everything of a client but its thread and its transport, on a ManualClock.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/scheduler.h"
#include "base/task.h"
#include "client/session/request_builder.h"
#include "client/session/session.h"
#include "tests/client/fake_channel.h"

namespace terrace {

class PaperClient {
 public:
  static constexpr std::uint64_t kIncarnation = 4711;
  static constexpr std::uint64_t kBlockBytes = 4096;

  explicit PaperClient(std::uint32_t shards) {
    for (std::uint32_t shard = 0; shard < shards; ++shard) {
      auto log = std::make_shared<ChannelLog>();
      log->hello.shard_index = static_cast<std::uint16_t>(shard);
      log->hello.daemon_incarnation = 99;
      log->hello.link = LinkKind::kSim;
      log->hello.heartbeat = 500 * kMillisecond;
      log->hello.heartbeat_idle = 2 * kSecond;
      for (std::uint32_t i = 0; i < shards; ++i) {
        log->hello.shards.push_back({"", static_cast<std::uint16_t>(7000 + i)});
      }
      factory_.logs.push_back(std::move(log));
    }
    channel_options_.host = "daemon";
    channel_options_.port = 7000;
    channel_options_.incarnation = kIncarnation;
    region_ = regions_.Add(memory_.data(), memory_.size()).value().id;
    NamespaceDescriptor descriptor;
    descriptor.name = "space";
    descriptor.block_tokens = 16;
    descriptor.run_blocks = 2;
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
    space_ = namespaces_.Opened(descriptor, 1, 31).value();
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(chain_.Append("key " + std::to_string(i)).ok());
    session_ = std::make_unique<Session>(
        Session::Shared{factory_, scheduler_, flow_, regions_, namespaces_, ids_, channel_options_},
        1);
  }

  /// Runs what is ready and due, without letting time pass.
  void Turn() {
    while (scheduler_.RunReady(100) + scheduler_.RunTimers(clock_.Now()) > 0) {
    }
  }
  /// Lets time pass, timer by timer.
  void Pass(Nanos duration) {
    const Nanos end = clock_.Now() + duration;
    Turn();
    while (scheduler_.NextTimer() <= end) {
      clock_.AdvanceTo(scheduler_.NextTimer());
      Turn();
    }
    clock_.AdvanceTo(end);
  }

  /// Opens the session; namespaces are answered by the caller, so none may be open unless the
  /// first channel is told to.
  void StartOpening() {
    scope_.Spawn([](PaperClient* client) -> Task<void> {
      const Nanos deadline = client->clock_.Now() + kSecond;
      client->opened_.emplace(co_await client->session_->Open(deadline));
    }(this));
    Turn();
  }
  void OpenWithNamespace() {
    StartOpening();
    AnswerOpen(0, 31);
    ASSERT_TRUE(opened_ && opened_->ok()) << opened_->ToString();
  }
  /// Answers the last OpenNamespace of a channel.
  void AnswerOpen(std::size_t channel, std::uint32_t daemon_id) {
    const auto asked = log(channel).OfKind(wire::Body_OpenNamespace);
    ASSERT_FALSE(asked.empty());
    log(channel).Deliver(BuildMessage<wire::OpenNamespaceReply>(
        {.request_id = asked.back()->request_id()},
        [daemon_id](flatbuffers::FlatBufferBuilder& builder) {
          return wire::CreateOpenNamespaceReply(builder, daemon_id);
        }));
    Turn();
  }

  ChannelLog& log(std::size_t channel) { return *factory_.logs[channel]; }
  RequestBuilder Builder(Nanos budget) {
    return {ids_, kIncarnation, {1, session_->shards()}, clock_.Now(), clock_.Now() + budget};
  }
  /// A get of every block of the chain.
  RequestRef MakeGet(Nanos budget) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < chain_.size(); ++i) {
      blocks.push_back(
          {.position = i, .region = {region_}, .offset = i * kBlockBytes, .valid_tokens = 0});
    }
    std::vector<std::span<std::byte>> memory;
    auto use = regions_.Use(blocks, kBlockBytes, memory);
    EXPECT_TRUE(use.ok()) << use.status().ToString();
    return Builder(budget).Transfer({.kind = RequestKind::kGet}, *namespaces_.Find(space_), chain_,
                                    blocks, {}, memory, std::move(use.value()));
  }
  RequestRef MakeMatch(Nanos budget) {
    return Builder(budget).Match(*namespaces_.Find(space_), chain_, {});
  }
  static bool Finished(const RequestRef& request) { return request->done.WaitUntil(0); }
  /// Says `code` for every block of a part.
  void AnswerBlocks(const RequestRef& request, std::size_t part_index, StatusCode code) {
    const RequestPart& part = request->parts[part_index];
    const std::size_t count = part.blocks.size();
    log(part.shard)
        .Deliver(BuildMessage<wire::BlocksReply>(
            {.request_id = part.request_id},
            [code, count](flatbuffers::FlatBufferBuilder& builder) {
              const auto statuses = builder.CreateVector(
                  std::vector<std::uint8_t>(count, static_cast<std::uint8_t>(code)));
              return wire::CreateBlocksReply(builder, statuses);
            }));
  }

  ManualClock clock_;
  Scheduler scheduler_{clock_};
  Scheduler::CurrentScope current_{scheduler_};
  std::unique_ptr<CompletionQueue> completions_ = std::move(CompletionQueue::Create().value());
  NamespaceTable namespaces_;
  RegionTable regions_;
  std::atomic<std::uint64_t> ids_{1};
  LeaseBook leases_{1};
  RequestFlow flow_{RequestFlow::Shared{
      scheduler_, *completions_, namespaces_, ids_, kIncarnation, leases_,
      [this](std::uint64_t epoch, std::uint32_t shard, std::vector<std::byte> message) {
        if (session_ != nullptr && session_->epoch() == epoch) {
          session_->Post(shard, std::move(message));
        }
      }}};
  FakeChannelFactory factory_;
  ChannelOptions channel_options_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(16 * kBlockBytes);
  std::uint32_t region_ = 0;
  NamespaceId space_;
  Chain chain_;
  std::optional<Status> opened_;
  TaskScope scope_;
  std::unique_ptr<Session> session_;
};

}  // namespace terrace

// FakeChannel: a channel made of paper. Tests say what the daemon does; nothing moves by itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/task.h"
#include "transport/channel.h"
#include "transport/codec.h"

namespace terrace {

/// What happened on a channel, and what it shall say; outlives the channel, so that tests can look
/// after it is gone.
struct ChannelLog {
  ChannelOptions options;
  ChannelHello hello;
  ChannelHandler* handler = nullptr;
  bool alive = true;
  bool destroyed = false;
  bool quiet_at_once = true;  ///< what Withdraw answers: kOk, or kPending
  std::vector<std::vector<std::byte>> sent;
  std::vector<std::uint64_t> withdrawn;
  std::vector<std::uint32_t> regions;
  std::vector<std::uint32_t> loans;  ///< slots that were taken

  [[nodiscard]] const wire::Message& message(std::size_t index) const {
    return *wire::GetMessage(sent[index].data());
  }
  /// Messages of one kind.
  [[nodiscard]] std::vector<const wire::Message*> OfKind(wire::Body kind) const {
    std::vector<const wire::Message*> found;
    for (const auto& bytes : sent) {
      const wire::Message* message_of = wire::GetMessage(bytes.data());
      if (message_of->body_type() == kind) found.push_back(message_of);
    }
    return found;
  }
  void Deliver(const std::vector<std::byte>& bytes) const {
    handler->OnMessage(*wire::GetMessage(bytes.data()));
  }
  void End(const std::string& why) {
    alive = false;
    handler->OnClosed(Status(StatusCode::kPeerDead, why));
  }
};

class FakeChannel final : public Channel {
 public:
  explicit FakeChannel(std::shared_ptr<ChannelLog> log) : log_(std::move(log)) {}
  ~FakeChannel() override { log_->destroyed = true; }
  [[nodiscard]] const ChannelHello& hello() const noexcept override { return log_->hello; }
  [[nodiscard]] bool Alive() const noexcept override { return log_->alive; }
  void Send(std::vector<std::byte> message) override {
    if (log_->alive) log_->sent.push_back(std::move(message));
  }
  void AddRegion(std::uint32_t region, ClientMemory /*memory*/) override {
    log_->regions.push_back(region);
  }
  void RemoveRegion(std::uint32_t region) override { std::erase(log_->regions, region); }
  void Expect(std::uint64_t, PieceMemory) override {}
  void Offer(std::uint64_t, PieceMemory) override {}
  [[nodiscard]] StatusCode Arrived(std::uint64_t, std::uint32_t) const override {
    return StatusCode::kOk;
  }
  StatusCode Withdraw(std::uint64_t request_id) override {
    log_->withdrawn.push_back(request_id);
    return log_->quiet_at_once || !log_->alive ? StatusCode::kOk : StatusCode::kPending;
  }
  [[nodiscard]] std::unique_ptr<LentMemory> TakeLoan(const wire::Loan& loan) override {
    log_->loans.push_back(loan.slot());
    return nullptr;
  }
  Result<std::shared_ptr<const DaemonProcess>> Daemon() override {
    return Status(StatusCode::kUnsupported, "a fake");
  }
  void Close() override {
    if (!std::exchange(log_->alive, false)) return;
    log_->handler->OnClosed(Status(StatusCode::kCancelled, "closed"));
  }

 private:
  std::shared_ptr<ChannelLog> log_;
};

/// Hands out one FakeChannel for each prepared log, in their order; kPeerDead after the last.
class FakeChannelFactory final : public ChannelFactory {
 public:
  std::vector<std::shared_ptr<ChannelLog>> logs;

  Task<Result<std::unique_ptr<Channel>>> Connect(ChannelOptions options, ChannelHandler& handler,
                                                 Nanos) override {
    if (next_ >= logs.size()) co_return Status(StatusCode::kPeerDead, "nobody is there");
    const std::shared_ptr<ChannelLog> log = logs[next_++];
    log->options = std::move(options);
    log->handler = &handler;
    co_return std::unique_ptr<Channel>(std::make_unique<FakeChannel>(log));
  }

 private:
  std::size_t next_ = 0;
};

}  // namespace terrace

#include "tests/transport/harness.h"

#include <algorithm>
#include <cstring>

#include "transport/rdma/rdma_transports.h"

namespace terrace::test {

Runner::Runner(const char* name, bool use_io_uring) {
  ReactorOptions options;
  options.name = name;
  options.use_io_uring = use_io_uring;
  auto reactor = Reactor::Create(options, clock_);
  if (!reactor.ok()) {
    ADD_FAILURE() << reactor.status().ToString();
    std::abort();
  }
  reactor_ = std::move(reactor.value());
}

Runner::~Runner() { Stop(); }

void Runner::Stop() {
  reactor_->Stop();
  reactor_->Join();
  // A test that failed may leave tasks behind; they must not take the whole program along.
  if (scope_ != nullptr && scope_->live() > 0) {
    ADD_FAILURE() << scope_->live() << " tasks are left";
    [[maybe_unused]] TaskScope* leaked = scope_.release();
  }
}

void Runner::Call(std::function<void()> function) {
  auto promise = std::make_shared<std::promise<void>>();
  std::future<void> done = promise->get_future();
  reactor_->Post([function = std::move(function), promise] {
    function();
    promise->set_value();
  });
  if (done.wait_for(kPatience) != std::future_status::ready) {
    ADD_FAILURE() << "a reactor hangs";
    std::abort();
  }
}

void LoggingHandler::OnRequest(const PeerRef& peer, std::vector<std::byte> /*bytes*/,
                               const wire::Message& message, Nanos deadline) {
  if (answer_stat && message.body_type() == wire::Body_Stat) {
    peer->link().Send(
        BuildMessage<wire::StatReply>({message.request_id(), message.incarnation(), 0}));
    return;
  }
  log.Update([&](ServerLog& entry) {
    entry.requests.emplace_back(message.request_id(), deadline - scheduler_.Now());
  });
}

void LoggingChannelHandler::OnMessage(const wire::Message& message) {
  log.Update([&](ClientLog& entry) {
    if (const auto* error = message.body_as_ErrorReply()) {
      entry.errors.push_back(StatusOf(*error).ToString());
    }
    entry.messages.emplace_back(message.body_type(), message.request_id());
  });
}

Pair::Pair(LinkKind kind, ServerOptions server_options, ChannelOptions channel_options,
           std::span<const DevicePool> pools)
    : handler(server_runner.reactor().scheduler()), incarnation(random.Next() | 1) {
  // Without a NIC: UCX's emulated RMA over TCP exercises the same logic.
  SetRdmaTransportsForTest(kind == LinkKind::kRdma ? RdmaTransports{"tcp", "lo", true}
                                                   : RdmaTransports{});
  auto made = Server::Create(server_runner.reactor(), server_options, handler, random);
  if (!made.ok()) {
    ADD_FAILURE() << made.status().ToString();
    std::abort();
  }
  server = std::move(made.value());
  server->SetShards({{"127.0.0.1", server->port()}}, 0, 77);
  if (!pools.empty()) gpu_wire = server->AttachPools(pools);
  server_runner.Start();
  auto factory_made = ChannelFactory::Create(client_runner.reactor());
  if (!factory_made.ok()) {
    ADD_FAILURE() << factory_made.status().ToString();
    std::abort();
  }
  factory = std::move(factory_made.value());
  client_runner.Start();

  channel_options.port = server->port();
  channel_options.incarnation = incarnation;
  channel_options.tcp_only = kind == LinkKind::kTcp;
  connect_status = client_runner.Await<Status>(
      [this, channel_options]() -> Task<Status> {
        auto result =
            co_await factory->Connect(channel_options, channel_handler,
                                      client_runner.reactor().scheduler().Now() + 10 * kSecond);
        if (!result.ok()) co_return result.status();
        channel = std::move(result.value());
        co_return Status();
      },
      Status::Internal("hang"));
  if (!connect_status.ok()) return;
  EXPECT_EQ(channel->hello().link, kind);
  EXPECT_TRUE(handler.log.WaitFor([](const ServerLog& log) { return !log.connected.empty(); }));
  peer = handler.log.Get().connected.at(0);
}

Pair::~Pair() {
  client_runner.Call([this] { channel.reset(); });
  server_runner.Await<bool>(
      [this]() -> Task<bool> {
        EXPECT_TRUE((co_await server->Shutdown()).ok());
        co_return true;
      },
      false);
  client_runner.Call([this] { factory.reset(); });
  server_runner.Call([this] { server.reset(); });
  client_runner.Stop();
  server_runner.Stop();
}

void Pair::Send(std::vector<std::byte> message) {
  client_runner.Call([&] { channel->Send(std::move(message)); });
}

void Pair::RoundTrip() {
  static std::uint64_t next = 1'000'000;
  const std::uint64_t id = next++;
  Send(BuildMessage<wire::Stat>(head(id)));
  EXPECT_TRUE(channel_handler.log.WaitFor([&](const ClientLog& log) {
    return std::any_of(log.messages.begin(), log.messages.end(),
                       [&](const auto& message) { return message.second == id; });
  })) << "no answer to Stat";
}

void Pair::Register(std::uint32_t region, std::span<std::byte> memory,
                    std::shared_ptr<const UniqueFd> file) {
  client_runner.Call([&] { channel->AddRegion(region, {memory, file}); });
  RoundTrip();
}

namespace {

struct PushCall {
  Pair* pair;
  std::span<std::byte> frame;
  std::uint64_t request;
  std::uint32_t block;
  std::vector<Piece> pieces;
  std::vector<std::uint64_t> checksums;
  std::vector<std::uint64_t>* pulled;
  Nanos budget;
  FrameRange range{};
};

Task<Status> RunPush(PushCall call) {
  const Nanos deadline = call.pair->server_runner.reactor().scheduler().Now() + call.budget;
  co_return co_await call.pair->peer->link().Push(
      Hold(call.frame, &call.pair->holds, call.request),
      {call.request, call.block, call.pieces, deadline, call.range}, call.checksums);
}

Task<Status> RunPull(PushCall call) {
  const Nanos deadline = call.pair->server_runner.reactor().scheduler().Now() + call.budget;
  call.pulled->assign(ChecksumPieceCount(call.frame.size()), 0);
  co_return co_await call.pair->peer->link().Pull(Hold(call.frame, &call.pair->holds, call.request),
                                                  {call.request, call.block, call.pieces, deadline},
                                                  *call.pulled);
}

}  // namespace

std::future<Status> Pair::Push(std::span<std::byte> frame, std::uint64_t request,
                               std::uint32_t block, std::vector<Piece> pieces, Nanos budget,
                               std::vector<std::uint64_t> checksums) {
  PushCall call{this,    frame, request, block, std::move(pieces), std::move(checksums),
                nullptr, budget};
  return server_runner.Run<Status>([call] { return RunPush(call); });
}

std::future<Status> Pair::Push(std::span<std::byte> frame, std::uint64_t request,
                               std::uint64_t offset, Nanos budget) {
  return Push(frame, request, 0, {{1, offset, frame.size()}}, budget, ChecksumsOf(frame));
}

std::future<Status> Pair::PushPart(std::span<std::byte> frame, std::uint64_t request,
                                   std::vector<Piece> pieces, FrameRange range,
                                   std::vector<std::uint64_t> checksums) {
  PushCall call{this,    frame,        request, 0, std::move(pieces), std::move(checksums),
                nullptr, 20 * kSecond, range};
  return server_runner.Run<Status>([call] { return RunPush(call); });
}

std::future<Status> Pair::Pull(std::span<std::byte> frame, std::uint64_t request,
                               std::uint32_t block, std::vector<Piece> pieces,
                               std::vector<std::uint64_t>* checksums, Nanos budget) {
  PushCall call{this, frame, request, block, std::move(pieces), {}, checksums, budget};
  return server_runner.Run<Status>([call] { return RunPull(call); });
}

void Pair::Reply(std::uint64_t request, std::size_t blocks) {
  server_runner.Call([&] {
    peer->link().Send(BuildMessage<wire::BlocksReply>(
        head(request), [&](flatbuffers::FlatBufferBuilder& builder) {
          const std::vector<std::uint8_t> statuses(blocks, 0);
          return wire::CreateBlocksReply(builder, builder.CreateVector(statuses));
        }));
  });
  EXPECT_TRUE(channel_handler.log.WaitFor([&](const ClientLog& log) {
    return std::find(log.messages.begin(), log.messages.end(),
                     std::pair(wire::Body_BlocksReply, request)) != log.messages.end();
  })) << "no BlocksReply";
}

void Pair::Expect(std::uint64_t request, PieceMemory destinations) {
  client_runner.Call([&] { channel->Expect(request, destinations); });
}

void Pair::Offer(std::uint64_t request, PieceMemory sources) {
  client_runner.Call([&] { channel->Offer(request, sources); });
}

StatusCode Pair::Arrived(std::uint64_t request, std::uint32_t index) {
  StatusCode code{};
  client_runner.Call([&] { code = channel->Arrived(request, index); });
  return code;
}

StatusCode Pair::Withdraw(std::uint64_t request) {
  StatusCode code{};
  client_runner.Call([&] { code = channel->Withdraw(request); });
  return code;
}

std::shared_ptr<std::promise<void>> Pair::FreezeClient() {
  auto thaw = std::make_shared<std::promise<void>>();
  auto frozen = std::make_shared<std::promise<void>>();
  std::future<void> is_frozen = frozen->get_future();
  client_runner.reactor().Post([thaw, frozen] {
    frozen->set_value();
    thaw->get_future().wait_for(kPatience);
  });
  is_frozen.wait_for(kPatience);
  return thaw;
}

void FillPattern(std::span<std::byte> bytes, std::uint64_t seed) {
  SeededRandom random(seed);
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    const std::uint64_t word = random.Next();
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, bytes.size() - i));
  }
}

std::vector<std::uint64_t> ChecksumsOf(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(bytes.size()));
  ChecksumBlock(bytes, checksums);
  return checksums;
}

}  // namespace terrace::test

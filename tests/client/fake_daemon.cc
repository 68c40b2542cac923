#include "tests/client/fake_daemon.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/ack.h"
#include "base/check.h"
#include "base/checksum.h"
#include "base/wait.h"

extern char** environ;

namespace terrace {
namespace {

constexpr Nanos kDelayStep = 5 * kMillisecond;  // so that a shut down need not wait out a delay

using Bytes = std::shared_ptr<std::vector<std::byte>>;

/// `tier`: of the blocks that are kOk. `not_durable`: of a put that asked for durable.
std::vector<std::byte> BuildBlocks(std::uint64_t request_id, const std::vector<StatusCode>& codes,
                                   TierKind tier, std::optional<int> not_durable = {}) {
  return BuildMessage<wire::BlocksReply>(
      {.request_id = request_id}, [&](flatbuffers::FlatBufferBuilder& builder) {
        std::vector<std::uint8_t> statuses;
        std::vector<std::uint8_t> tiers;
        std::vector<std::uint32_t> tokens;
        for (const StatusCode code : codes) {
          statuses.push_back(static_cast<std::uint8_t>(code));
          const bool here = code == StatusCode::kOk;
          tiers.push_back(static_cast<std::uint8_t>(here ? tier : TierKind::kNone));
          tokens.push_back(here ? 16 : 0);
        }
        const auto status_list = builder.CreateVector(statuses);
        const auto tier_list = builder.CreateVector(tiers);
        const auto token_list = builder.CreateVector(tokens);
        if (!not_durable) {
          return wire::CreateBlocksReply(builder, status_list, tier_list, token_list);
        }
        const Ack reached = *not_durable == 0 ? Ack::kDurable : Ack::kCommitted;
        const auto acks = builder.CreateVector(
            std::vector<std::uint8_t>(codes.size(), static_cast<std::uint8_t>(reached)));
        const auto reasons = builder.CreateVector(
            std::vector<std::uint8_t>(codes.size(), static_cast<std::uint8_t>(*not_durable)));
        return wire::CreateBlocksReply(builder, status_list, tier_list, token_list, acks, reasons);
      });
}

}  // namespace

/// One reactor: its thread, its server, its blocks.
class FakeReactor final : public RequestHandler, private Hold::Owner {
 public:
  FakeReactor(FakeDaemon& daemon, const FakeDaemonOptions& options, std::uint16_t port)
      : daemon_(daemon) {
    auto reactor = Reactor::Create({.name = "fake-daemon"}, daemon.clock_);
    TERRACE_CHECK(reactor.ok());
    reactor_ = std::move(reactor.value());
    ServerOptions server_options;
    server_options.port = port;
    server_options.heartbeat = options.heartbeat;
    server_options.heartbeat_idle = options.heartbeat_idle;
    server_options.same_host = options.same_host;
    server_options.server_text = "fake";
    auto server = Server::Create(*reactor_, server_options, *this, daemon.random_);
    if (!server.ok()) std::fprintf(stderr, "fake: %s\n", server.status().ToString().c_str());
    TERRACE_CHECK(server.ok());
    server_ = std::move(server.value());
  }
  ~FakeReactor() override {
    reactor_->Post([this] {
      stopping_ = true;
      shutdown_.Spawn([](FakeReactor* self) -> Task<void> {
        TERRACE_CHECK((co_await self->server_->Shutdown()).ok());
        co_await self->scope_.Join();
        self->reactor_->Post([self] { self->reactor_->Stop(); });
      }(this));
    });
    reactor_->Join();
    server_.reset();
  }

  Server& server() { return *server_; }
  Reactor& reactor() { return *reactor_; }
  [[nodiscard]] std::size_t blocks() const { return blocks_count_.load(); }

  void OnConnect(const PeerRef&) override { ++daemon_.behaviour_.connects; }
  void OnDisconnect(const PeerRef&, const Status&) override {}
  void OnCancel(const PeerRef&, std::uint64_t) override { ++daemon_.behaviour_.cancels; }
  void OnRequest(const PeerRef& peer, std::vector<std::byte> bytes, const wire::Message& message,
                 Nanos deadline) override {
    scope_.Spawn(Serve(this, peer, std::move(bytes), &message, deadline));
  }

 private:
  static Task<void> Serve(FakeReactor* self, PeerRef peer,
                          [[maybe_unused]] std::vector<std::byte> bytes,
                          const wire::Message* message, Nanos deadline) {
    switch (message->body_type()) {
      case wire::Body_OpenNamespace: self->Open(*peer, *message); co_return;
      case wire::Body_Stat: self->Stat(*peer, *message); co_return;
      case wire::Body_ListNamespaces: self->List(*peer, *message); co_return;
      case wire::Body_ClearNamespace: self->Clear(*peer, *message); co_return;
      default: break;
    }
    FakeBehaviour& behaviour = self->daemon_.behaviour_;
    if (behaviour.drop) {
      if (message->body_type() == wire::Body_Match) ++behaviour.matches_dropped;
      co_return;
    }
    const Nanos begin = self->daemon_.clock_.Now() + behaviour.delay;
    while (self->daemon_.clock_.Now() < begin && !self->stopping_) {
      co_await SleepUntil{self->daemon_.clock_.Now() + kDelayStep};
    }
    if (const int code = behaviour.refuse; code != 0) {
      peer->link().Send(BuildError({.request_id = message->request_id()},
                                   Status(static_cast<StatusCode>(code), "told to refuse")));
      co_return;
    }
    switch (message->body_type()) {
      case wire::Body_Match: self->Match(*peer, *message); break;
      case wire::Body_Remove: self->Remove(*peer, *message); break;
      case wire::Body_Get: co_await Get(self, peer, message, deadline); break;
      case wire::Body_Put: co_await Put(self, peer, message, deadline); break;
      default: break;
    }
  }

  template <typename Body>
  static std::vector<std::string> Names(const Body& body) {
    std::vector<std::string> names;
    const auto runs = ReadRuns(body.runs(), 65536);
    TERRACE_CHECK(runs.ok());
    const std::string prefix = std::to_string(body.namespace_id()) + "/" +
                               std::to_string(body.group()) + "/" + std::to_string(body.shard()) +
                               "/";
    for (const KeyRun& run : *runs) {
      for (const auto& key : run.keys) {
        names.push_back(prefix +
                        std::string(reinterpret_cast<const char*>(key.data()), key.size()));
      }
    }
    return names;
  }

  void Open(Peer& peer, const wire::Message& message) {
    const MessageHead head{.request_id = message.request_id()};
    if (daemon_.behaviour_.refuse_names) {
      peer.link().Send(BuildError(head, Status(StatusCode::kIncompatible, "fingerprints differ")));
      return;
    }
    const std::uint32_t id =
        daemon_.OpenName(std::string(TextOf(message.body_as_OpenNamespace()->name())));
    peer.link().Send(
        BuildMessage<wire::OpenNamespaceReply>(head, [id](flatbuffers::FlatBufferBuilder& builder) {
          return wire::CreateOpenNamespaceReply(builder, id);
        }));
  }

  void Match(Peer& peer, const wire::Message& message) {
    ++daemon_.behaviour_.matches;
    std::vector<std::uint8_t> tiers;
    for (const std::string& name : Names(*message.body_as_Match())) {
      if (!blocks_.contains(name)) break;
      tiers.push_back(static_cast<std::uint8_t>(daemon_.behaviour_.tier.load()));
    }
    const bool tells = daemon_.behaviour_.tells_times;
    peer.link().Send(BuildMessage<wire::MatchReply>(
        {.request_id = message.request_id()}, [&](flatbuffers::FlatBufferBuilder& builder) {
          const auto shown = builder.CreateVector(tiers);
          if (!tells) return wire::CreateMatchReply(builder, shown);
          const auto sources = builder.CreateVector(std::vector<std::uint8_t>(tiers.size(), 1));
          const auto from = builder.CreateVectorOfStructs(std::vector<wire::LoadSource>{
              {1'000'000'000, 0, 10, 2, 0}, {100'000'000, 0, 100, 3, 0}});
          return wire::CreateMatchReply(builder, shown, sources, from);
        }));
  }

  void Remove(Peer& peer, const wire::Message& message) {
    std::vector<StatusCode> codes;
    for (const std::string& name : Names(*message.body_as_Remove())) {
      codes.push_back(blocks_.erase(name) > 0 ? StatusCode::kOk : StatusCode::kMiss);
    }
    blocks_count_ = blocks_.size();
    peer.link().Send(BuildBlocks(message.request_id(), codes, daemon_.behaviour_.tier));
  }

  void Stat(Peer& peer, const wire::Message& message) {
    peer.link().Send(BuildMessage<wire::StatReply>(
        {.request_id = message.request_id()}, [this](flatbuffers::FlatBufferBuilder& builder) {
          const auto name = builder.CreateString("fake_blocks");
          const std::vector<flatbuffers::Offset<wire::Sample>> samples = {
              wire::CreateSample(builder, name, 0, static_cast<double>(blocks_.size()))};
          return wire::CreateStatReply(builder, builder.CreateVector(samples));
        }));
  }

  std::uint64_t CountOf(std::uint32_t id, bool erase) {
    const std::string prefix = std::to_string(id) + "/";
    return std::erase_if(blocks_, [&](const auto& entry) {
      return entry.first.starts_with(prefix) && (found_ += 1, erase);
    });
  }

  void List(Peer& peer, const wire::Message& message) {
    const auto names = daemon_.Names();
    peer.link().Send(BuildMessage<wire::ListNamespacesReply>(
        {.request_id = message.request_id()}, [&](flatbuffers::FlatBufferBuilder& builder) {
          std::vector<flatbuffers::Offset<wire::NamespaceInfo>> infos;
          for (const auto& [name, id] : names) {
            found_ = 0;
            CountOf(id, false);
            infos.push_back(wire::CreateNamespaceInfo(builder, builder.CreateString("default"),
                                                      builder.CreateString(name), 0, found_,
                                                      found_ * 1000));
          }
          return wire::CreateListNamespacesReply(builder, builder.CreateVector(infos));
        }));
  }

  void Clear(Peer& peer, const wire::Message& message) {
    const MessageHead head{.request_id = message.request_id()};
    const auto names = daemon_.Names();
    const auto found = names.find(std::string(TextOf(message.body_as_ClearNamespace()->name())));
    if (found == names.end()) {
      peer.link().Send(BuildError(head, Status(StatusCode::kMiss, "no such namespace")));
      return;
    }
    const std::uint64_t cleared = CountOf(found->second, true);
    blocks_count_ = blocks_.size();
    peer.link().Send(BuildMessage<wire::ClearNamespaceReply>(
        head, [cleared](flatbuffers::FlatBufferBuilder& builder) {
          return wire::CreateClearNamespaceReply(builder, cleared);
        }));
  }

  Hold HoldOf(Bytes bytes) {
    const std::span<std::byte> span(*bytes);
    held_[++next_token_] = std::move(bytes);
    return Hold(span, this, next_token_);
  }
  void Release(std::uint64_t token) noexcept override { held_.erase(token); }

  /// The one piece of each block.
  template <typename Body>
  static std::vector<Piece> Pieces(const Body& body) {
    std::vector<Piece> pieces;
    for (const wire::Piece* piece : *body.pieces()) {
      pieces.push_back({piece->region(), piece->offset(), piece->length()});
    }
    return pieces;
  }

  static Task<void> Get(FakeReactor* self, PeerRef peer, const wire::Message* message,
                        Nanos deadline) {
    ++self->daemon_.behaviour_.gets;
    if (message->body_as_Get()->lend()) {
      peer->link().Send(BuildError({.request_id = message->request_id()},
                                   Status(StatusCode::kUnsupported, "a fake lends nothing")));
      co_return;
    }
    const std::vector<std::string> names = Names(*message->body_as_Get());
    const std::vector<Piece> pieces = Pieces(*message->body_as_Get());
    std::vector<StatusCode> codes(names.size(), StatusCode::kMiss);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto found = self->blocks_.find(names[i]);
      if (found == self->blocks_.end()) continue;
      const Bytes bytes = found->second;
      if (bytes->size() != pieces[i].length) {
        codes[i] = StatusCode::kInvalid;
        continue;
      }
      std::vector<std::uint64_t> checksums(ChecksumPieceCount(bytes->size()));
      ChecksumBlock(*bytes, checksums);
      const Status status = co_await peer->link().Push(
          self->HoldOf(bytes),
          {message->request_id(), static_cast<std::uint32_t>(i), {&pieces[i], 1}, deadline},
          checksums);
      codes[i] = status.code();
    }
    peer->link().Send(BuildBlocks(message->request_id(), codes, self->daemon_.behaviour_.tier));
  }

  static Task<void> Put(FakeReactor* self, PeerRef peer, const wire::Message* message,
                        Nanos deadline) {
    ++self->daemon_.behaviour_.puts;
    const std::vector<std::string> names = Names(*message->body_as_Put());
    const std::vector<Piece> pieces = Pieces(*message->body_as_Put());
    std::vector<StatusCode> codes(names.size(), StatusCode::kExists);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (self->blocks_.contains(names[i])) continue;
      const Bytes bytes = std::make_shared<std::vector<std::byte>>(pieces[i].length);
      std::vector<std::uint64_t> checksums(ChecksumPieceCount(bytes->size()));
      const Status status = co_await peer->link().Pull(
          self->HoldOf(bytes),
          {message->request_id(), static_cast<std::uint32_t>(i), {&pieces[i], 1}, deadline},
          checksums);
      codes[i] = status.code();
      if (status.ok()) self->blocks_[names[i]] = bytes;
      self->blocks_count_ = self->blocks_.size();
    }
    std::optional<int> not_durable;
    if (message->body_as_Put()->ack() == static_cast<std::uint8_t>(Ack::kDurable)) {
      not_durable = self->daemon_.behaviour_.not_durable;
    }
    peer->link().Send(
        BuildBlocks(message->request_id(), codes, self->daemon_.behaviour_.tier, not_durable));
  }

  FakeDaemon& daemon_;
  std::unique_ptr<Reactor> reactor_;
  std::map<std::string, Bytes> blocks_;
  std::atomic<std::size_t> blocks_count_{0};
  std::map<std::uint64_t, Bytes> held_;
  std::uint64_t next_token_ = 0;
  std::uint64_t found_ = 0;
  bool stopping_ = false;
  std::unique_ptr<Server> server_;
  TaskScope scope_;
  TaskScope shutdown_;
};

FakeDaemon::FakeDaemon(FakeDaemonOptions options) : next_namespace_(options.first_namespace_id) {
  options.ports.resize(options.reactors, 0);
  behaviour_.refuse_names = options.refuse_names;
  std::vector<Server::Shard> shards;
  for (const std::uint16_t port : options.ports) {
    reactors_.push_back(std::make_unique<FakeReactor>(*this, options, port));
    shards.push_back({"127.0.0.1", reactors_.back()->server().port()});
  }
  const std::uint64_t incarnation = random_.Next();
  for (std::size_t i = 0; i < reactors_.size(); ++i) {
    reactors_[i]->server().SetShards(shards, static_cast<std::uint16_t>(i), incarnation);
  }
  for (const auto& reactor : reactors_) reactor->reactor().Start();
}

FakeDaemon::~FakeDaemon() {
  Thaw();
  reactors_.clear();
}

std::vector<std::uint16_t> FakeDaemon::ports() const {
  std::vector<std::uint16_t> ports;
  for (const auto& reactor : reactors_) ports.push_back(reactor->server().port());
  return ports;
}

std::string FakeDaemon::address() const { return "127.0.0.1:" + std::to_string(ports().front()); }

void FakeDaemon::Freeze() {
  {
    const std::lock_guard lock(mutex_);
    frozen_ = true;
  }
  for (const auto& reactor : reactors_) {
    reactor->reactor().Post([this] {
      std::unique_lock lock(mutex_);
      thawed_.wait(lock, [this] { return !frozen_; });
    });
  }
}

void FakeDaemon::Thaw() {
  const std::lock_guard lock(mutex_);
  frozen_ = false;
  thawed_.notify_all();
}

std::vector<std::size_t> FakeDaemon::BlocksByReactor() {
  std::vector<std::size_t> blocks;
  for (const auto& reactor : reactors_) blocks.push_back(reactor->blocks());
  return blocks;
}

std::uint32_t FakeDaemon::OpenName(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto [place, added] = names_.try_emplace(name, next_namespace_);
  if (added) ++next_namespace_;
  return place->second;
}

std::map<std::string, std::uint32_t> FakeDaemon::Names() {
  const std::lock_guard lock(mutex_);
  return names_;
}

// ---- the daemon in a process of its own ----

namespace {
constexpr const char* kChildFlag = "--fake-daemon";
}  // namespace

bool RunChildDaemon(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], kChildFlag) != 0) return false;
  FakeDaemonOptions options;
  for (int i = 2; i < argc; ++i) {
    options.ports.push_back(static_cast<std::uint16_t>(std::atoi(argv[i])));
  }
  const FakeDaemon daemon(options);
  const auto ports = daemon.ports();
  const auto bytes = static_cast<ssize_t>(ports.size() * sizeof ports[0]);
  if (::write(STDOUT_FILENO, ports.data(), static_cast<std::size_t>(bytes)) != bytes) return true;
  char none = 0;
  while (::read(STDIN_FILENO, &none, 1) > 0) {
  }
  return true;
}

ChildDaemon::ChildDaemon(std::vector<std::uint16_t> ports) {
  int input[2];
  int output[2];
  TERRACE_CHECK(::pipe2(input, O_CLOEXEC) == 0 && ::pipe2(output, O_CLOEXEC) == 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  std::vector<std::string> words = {"fake-daemon", kChildFlag};
  for (const std::uint16_t port : ports) words.push_back(std::to_string(port));
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  TERRACE_CHECK(::posix_spawn(&process_, "/proc/self/exe", &actions, nullptr, arguments.data(),
                              environ) == 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(input[0]);
  ::close(output[1]);
  input_ = input[1];
  ports_.resize(2);
  const auto bytes = static_cast<ssize_t>(ports_.size() * sizeof ports_[0]);
  TERRACE_CHECK(::read(output[0], ports_.data(), static_cast<std::size_t>(bytes)) == bytes);
  ::close(output[0]);
}

ChildDaemon::~ChildDaemon() {
  Kill();
  ::close(input_);
}

std::string ChildDaemon::address() const { return "127.0.0.1:" + std::to_string(ports_.front()); }

void ChildDaemon::Stop() const {
  ::kill(process_, SIGSTOP);
  int status = 0;
  // Not at once: a thread may end what it is doing before the signal reaches it.
  TERRACE_CHECK(::waitpid(process_, &status, WUNTRACED) == process_ && WIFSTOPPED(status));
}

void ChildDaemon::Continue() const { ::kill(process_, SIGCONT); }

void ChildDaemon::Kill() {
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  int status = 0;
  ::waitpid(process_, &status, 0);
  process_ = -1;
}

}  // namespace terrace

// The path `handoff`: a producer sends a prompt's KV layer by layer, a consumer receives each layer
// while the next is computed. 32 layers of 4 MiB: 16 blocks of 32 x 256 KiB.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

using SteadyTime = std::chrono::steady_clock;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kLayerPartBytes = 256 << 10;
constexpr std::uint32_t kLayers = 32;
constexpr std::uint64_t kBlockBytes = kLayers * kLayerPartBytes;
constexpr std::uint32_t kBlocks = 16;
constexpr std::uint64_t kDramBytes = 2048 * kMiB;
constexpr double kLoad = 0.4;  // of the one-way bandwidth
constexpr auto kIdle = std::chrono::milliseconds(3);
constexpr auto kCallMax = std::chrono::seconds(20);
constexpr double kLearnUs = 100;  // design
constexpr double kDeathUs = 1e6;  // design
constexpr std::uint32_t kMany = 1000;
constexpr std::uint64_t kSmallBytes = 64 << 10;

double Us(SteadyTime::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

/// A client with memory for every block of a hand-off.
class Side {
 public:
  Side(const std::string& address, LinkChoice link, std::uint64_t block_bytes = kBlockBytes)
      : bytes_(block_bytes) {
    auto client = Client::Connect({.address = address, .name = "terrace-bench", .link = link});
    Require(client.status(), "connect to " + address);
    client_ = std::move(*client);
    const auto space = client_->OpenNamespace(BenchNamespace(block_bytes), In(kCallMax));
    Require(space.status(), "open namespace");
    space_ = *space;
    const auto region = client_->AllocateRegion(kBlocks * block_bytes);
    Require(region.status(), "allocate");
    region_ = *region;
  }

  /// One layer of every block: where it lies in the block, and in this side's memory.
  void NameLayer(std::uint32_t layer, std::vector<std::array<MemoryPiece, 1>>& pieces,
                 std::vector<BlockPieces>& blocks) const {
    pieces.resize(kBlocks);
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      const std::uint64_t at = layer * kLayerPartBytes;
      pieces[i] = {MemoryPiece{region_, i * kBlockBytes + at, kLayerPartBytes}};
      blocks.push_back({.position = i,
                        .pieces = pieces[i],
                        .range = {.offset = at, .bytes = kLayerPartBytes},
                        .valid_tokens = 0});
    }
  }
  Ticket Await(const HandoffToken& token, const Chain& chain, std::uint32_t layer) {
    std::vector<std::array<MemoryPiece, 1>> pieces;
    std::vector<BlockPieces> blocks;
    NameLayer(layer, pieces, blocks);
    const auto ticket = client_->SubmitReceive(token, space_, chain, blocks, {}, In(kCallMax));
    Require(ticket.status(), "receive");
    return *ticket;
  }
  Ticket Send(const HandoffToken& token, const Chain& chain, std::uint32_t layer) {
    std::vector<std::array<MemoryPiece, 1>> pieces;
    std::vector<BlockPieces> blocks;
    NameLayer(layer, pieces, blocks);
    const auto ticket = client_->SubmitSend(token, space_, chain, blocks, {}, In(kCallMax));
    Require(ticket.status(), "send");
    return *ticket;
  }
  void Open(const HandoffToken& token, const Chain& chain, std::uint32_t count = kBlocks) {
    const auto opened = client_->OpenHandoff(token, space_, chain, 0, count, {}, {}, In(kCallMax));
    RequireAll(opened, "open a hand-off");
  }
  /// Waits for the completions of `count` calls, each of which must have brought all its blocks.
  void Finish(std::uint32_t count) {
    while (count > 0) {
      Require(client_->WaitForCompletion(In(kCallMax)), "wait");
      for (const Completion& done : client_->Poll()) {
        Require(done.status, "layer");
        for (const BlockResult& block : done.blocks) Require(Status(block.status), "layer");
        --count;
      }
    }
  }
  Client& client() { return *client_; }
  [[nodiscard]] NamespaceId space() const { return space_; }
  [[nodiscard]] RegionId region() const { return region_; }
  [[nodiscard]] std::uint64_t block_bytes() const { return bytes_; }

 private:
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  RegionId region_;
  std::uint64_t bytes_ = 0;
};

/// Layers from a producer to a consumer, each of which has a thread.
class LayerStream {
 public:
  LayerStream(const std::string& address, LinkChoice link)
      : producer_(address, link), consumer_(address, link) {}

  /// All layers, one every `interval`; seconds from when the last was computed, and from the first.
  struct Times {
    double tail_us = 0;
    double all_us = 0;
  };
  Times Run(SteadyTime::duration interval, std::uint32_t layers = kLayers) {
    const Chain chain = BenchChain(kBlocks, ++salt_);
    const HandoffToken token = producer_.client().NewHandoff().value();
    producer_.Open(token, chain);
    for (std::uint32_t layer = 0; layer < layers; ++layer) consumer_.Await(token, chain, layer);
    SteadyTime::time_point end;
    std::thread consumer([&] {
      consumer_.Finish(layers);
      end = SteadyTime::now();
    });
    // Nobody has done anything for so long as between two layers: a first one is no faster for it.
    std::this_thread::sleep_for(std::max<SteadyTime::duration>(interval, kIdle));
    const auto begin = SteadyTime::now();
    auto computed = begin;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      computed = std::max(computed, begin + layer * interval);
      std::this_thread::sleep_until(computed);
      producer_.Send(token, chain, layer);
      if (interval == SteadyTime::duration::zero()) producer_.Finish(1);
    }
    consumer.join();
    if (interval != SteadyTime::duration::zero()) producer_.Finish(layers);
    Require(consumer_.client().AckHandoff(token, In(kCallMax)), "acknowledge");
    if (layers < kLayers) {
      Require(producer_.client().AbortHandoff(token, In(kCallMax)), "abort");
    } else {
      RequireAll(producer_.client().Remove(producer_.space(), chain, 0, kBlocks, {}, In(kCallMax)),
                 "remove");
    }
    return {.tail_us = Us(end - computed), .all_us = Us(end - begin)};
  }

 private:
  Side producer_;
  Side consumer_;
  std::uint64_t salt_ = 0;
};

Figure MeasureStream(const std::string& address, LinkChoice link, const char* name,
                     const BenchOptions& options) {
  LayerStream stream(address, link);
  stream.Run({});  // touches all memory once
  double interval_us = 0;
  const auto alone = [&] {
    // The bandwidth of this moment, too: a machine that others use changes.
    const double all_us = stream.Run({}).all_us;
    interval_us = all_us / kLayers / kLoad;
    std::vector<double> times;
    for (int i = 0; i < 5; ++i) times.push_back(stream.Run({}, 1).tail_us);
    return Median(times);
  };
  const auto value = [&] {
    return stream.Run(std::chrono::nanoseconds(static_cast<std::int64_t>(interval_us * 1e3)))
        .tail_us;
  };
  Figure figure = ComparePairs(std::string("handoff_32x4MiB_") + name, "us",
                               "one layer alone, producer to consumer", alone, value,
                               {.rounds = options.rounds, .higher_is_better = false});
  figure.note = "from the last layer's being computed until the consumer has all; layers come at " +
                std::to_string(kLoad).substr(0, 3) + " of the rate of 32 layers unpaced";
  return figure;
}

/// How much later than its bytes could have moved a consumer knows of a layer.
Figure MeasureLearning(const std::string& address, const BenchOptions& options) {
  Side producer(address, LinkChoice::kAuto, kSmallBytes);
  Side consumer(address, LinkChoice::kAuto, kSmallBytes);
  std::uint64_t salt = 1'000'000;
  const auto piece_of = [](const Side& side) {
    return std::array{MemoryPiece{side.region(), 0, kSmallBytes}};
  };
  const auto from = piece_of(producer);
  const auto to = piece_of(consumer);
  const BlockPieces source{.position = 0, .pieces = from, .range = {}, .valid_tokens = 0};
  const BlockPieces sink{.position = 0, .pieces = to, .range = {}, .valid_tokens = 0};
  const auto transfer = [&] {
    std::vector<double> times;
    for (int i = 0; i < 50; ++i) {
      const Chain chain = BenchChain(1, ++salt);
      const auto begin = SteadyTime::now();
      RequireAll(
          producer.client().PutPieces(producer.space(), chain, {&source, 1}, {}, In(kCallMax)),
          "put");
      RequireAll(consumer.client().GetPieces(consumer.space(), chain, {&sink, 1}, {}, In(kCallMax)),
                 "get");
      times.push_back(Us(SteadyTime::now() - begin));
    }
    return Median(times) + kLearnUs;
  };
  const auto learn = [&] {
    std::vector<double> times;
    for (int i = 0; i < 50; ++i) {
      const Chain chain = BenchChain(1, ++salt);
      const HandoffToken token = producer.client().NewHandoff().value();
      producer.Open(token, chain, 1);
      SteadyTime::time_point end;
      std::thread waits([&] {
        RequireAll(
            consumer.client().Receive(token, consumer.space(), chain, {&sink, 1}, {}, In(kCallMax)),
            "receive");
        end = SteadyTime::now();
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // until it waits
      const auto begin = SteadyTime::now();
      RequireAll(
          producer.client().Send(token, producer.space(), chain, {&source, 1}, {}, In(kCallMax)),
          "send");
      waits.join();
      times.push_back(Us(end - begin));
      Require(consumer.client().AckHandoff(token, In(kCallMax)), "acknowledge");
    }
    return Median(times);
  };
  return ComparePairs("handoff_learn_64KiB", "us",
                      "a put and a get of the same bytes one after the other, and 100 us", transfer,
                      learn, {.rounds = options.rounds, .higher_is_better = false});
}

/// A producer in a process of its own, that is told a token, sends one layer, says so, and waits to
/// be killed. Forked while this process has no thread of a client.
class Producer {
 public:
  Producer(const std::string& address, const Chain& chain) {
    if (::pipe(to_child_) != 0 || ::pipe(from_child_) != 0) {
      Require(Status(StatusCode::kIo, "no pipe"), "the producer");
    }
    process_ = ::fork();
    if (process_ == 0) Produce(address, chain);
  }
  ~Producer() {
    Kill();
    ::waitpid(process_, nullptr, 0);
    for (const int end : {to_child_[0], to_child_[1], from_child_[0], from_child_[1]}) ::close(end);
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  /// Returns once a layer has been sent.
  void Start(const HandoffToken& token) {
    const bool told = ::write(to_child_[1], token.bytes.data(), token.bytes.size()) ==
                      static_cast<ssize_t>(token.bytes.size());
    char byte = 0;
    if (!told || ::read(from_child_[0], &byte, 1) != 1) {
      Require(Status(StatusCode::kPeerDead), "the producer");
    }
  }
  void Kill() { ::kill(process_, SIGKILL); }

 private:
  [[noreturn]] void Produce(const std::string& address, const Chain& chain) {
    HandoffToken token;
    if (::read(to_child_[0], token.bytes.data(), token.bytes.size()) !=
        static_cast<ssize_t>(token.bytes.size())) {
      ::_exit(1);
    }
    Side side(address, LinkChoice::kAuto);
    side.Open(token, chain);
    side.Send(token, chain, 0);
    side.Finish(1);
    [[maybe_unused]] const auto wrote = ::write(from_child_[1], "1", 1);
    for (;;) ::pause();
  }

  int to_child_[2] = {-1, -1};
  int from_child_[2] = {-1, -1};
  pid_t process_ = -1;
};

/// From a SIGKILL of the producer until the consumer, which waits for the next layer, is told.
Figure MeasureDeath(const std::string& address, const BenchOptions& options) {
  std::vector<double> times;
  std::uint64_t salt = 2'000'000;
  for (int round = 0; round < options.rounds; ++round) {
    const Chain chain = BenchChain(kBlocks, ++salt);
    Producer producer(address, chain);
    Side consumer(address, LinkChoice::kAuto);
    const HandoffToken token = consumer.client().NewHandoff().value();
    consumer.Await(token, chain, 1);
    producer.Start(token);
    const auto begin = SteadyTime::now();
    producer.Kill();
    Require(consumer.client().WaitForCompletion(In(kCallMax)), "wait");
    times.push_back(Us(SteadyTime::now() - begin));
    for (const Completion& done : consumer.client().Poll()) {
      if (done.blocks.front().status != StatusCode::kPeerDead) {
        Require(Status(done.blocks.front().status, "not told that it died"), "the consumer");
      }
    }
  }
  return CompareTotal("handoff_producer_killed", "us", "1 s", kDeathUs,
                      *std::max_element(times.begin(), times.end()), times, false);
}

double GaugeOf(Client& client, const char* name) {
  const auto samples = client.Stat(In(kCallMax));
  Require(samples.status(), "stat");
  double sum = 0;
  for (const Sample& sample : *samples) {
    if (sample.name == name) sum += sample.value;
  }
  return sum;
}

/// 1,000 hand-offs of 1 MiB at once, each with a consumer that waits for it: what they hold.
Figure MeasureMany(const std::string& address) {
  Side producer(address, LinkChoice::kAuto, kSmallBytes);
  Side consumer(address, LinkChoice::kAuto, kSmallBytes);
  const auto to = std::array{MemoryPiece{consumer.region(), 0, kSmallBytes}};
  const BlockPieces sink{.position = 0, .pieces = to, .range = {}, .valid_tokens = 0};
  std::vector<HandoffToken> tokens;
  double refused = 0;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    const Chain chain = BenchChain(kBlocks, 3'000'000 + i);
    tokens.push_back(producer.client().NewHandoff().value());
    const auto opened = producer.client().OpenHandoff(tokens.back(), producer.space(), chain, 0,
                                                      kBlocks, {}, {}, In(kCallMax));
    Require(opened.status(), "open a hand-off");
    for (const BlockResult& block : *opened) refused += block.status == StatusCode::kRetry ? 1 : 0;
    const auto waits = consumer.client().SubmitReceive(tokens.back(), consumer.space(), chain,
                                                       {&sink, 1}, {}, In(kCallMax));
    Require(waits.status(), "receive");
  }
  const double open = GaugeOf(consumer.client(), "terrace_handoffs");
  const double bytes = GaugeOf(consumer.client(), "terrace_handoff_bytes");
  for (const HandoffToken& token : tokens) {
    Require(producer.client().AbortHandoff(token, In(kCallMax)), "abort");
  }
  Require(consumer.client().Drain(In(kCallMax)), "drain");
  const double left = GaugeOf(consumer.client(), "terrace_handoff_bytes");
  Figure figure = CompareTotal("handoff_1000_held", "bytes", "a quarter of the DRAM tier",
                               static_cast<double>(kDramBytes) / 4, bytes, {bytes}, false);
  figure.note = std::to_string(static_cast<int>(open)) + " open at once, of " +
                std::to_string(kBlocks) + " blocks of 64 KiB each; " +
                std::to_string(static_cast<int>(refused)) + " blocks told that there is no room; " +
                std::to_string(static_cast<int>(left)) + " bytes held after all were aborted";
  return figure;
}

}  // namespace

std::vector<Figure> BenchHandoff(const BenchOptions& options) {
  const DaemonProcess daemon({.dram_bytes = kDramBytes});
  std::vector<Figure> figures;
  figures.push_back(MeasureDeath(daemon.address(), options));
  figures.push_back(MeasureStream(daemon.address(), LinkChoice::kAuto, "shm", options));
  figures.push_back(MeasureStream(daemon.address(), LinkChoice::kTcp, "tcp", options));
  figures.push_back(MeasureLearning(daemon.address(), options));
  figures.push_back(MeasureMany(daemon.address()));
  return figures;
}

}  // namespace terrace::bench

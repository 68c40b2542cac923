// The path `hbm`: what moves blocks between the pinned arena and a GPU's memory, as the daemon uses
// it, through a reactor.
//
// Limits, all by bare CUDA calls in the same run: one large copy between pinned and device memory
// in that direction, two of them at once, one within the device, and a kernel that only reads.
#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/cuda_status.h"
#include "base/reactor.h"
#include "base/task.h"
#include "tiers/hbm/gpus.h"
#include "tools/bench/paths.h"
#include "tools/bench/read_kernel.h"

namespace terrace::bench {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kHostBytes = 1024 * kMiB;      // pinned, walked in turn
constexpr std::uint64_t kPoolBytes = 2 * kHostBytes;   // on the device
constexpr std::uint64_t kDeviceWork = 8 * kPoolBytes;  // of what stays on the device, a round
constexpr std::size_t kWorkers = 512;                  // blocks asked for at once
constexpr std::uint64_t kBlocks[] = {kMiB, 4 * kMiB, 16 * kMiB};

void Require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "terrace-bench hbm: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
void Require(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "terrace-bench hbm: %s: %s\n", what, status.ToString().c_str());
  std::exit(1);
}

double SecondsSince(std::chrono::steady_clock::time_point started) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

enum class Move { kIn, kOut, kWithin, kChecksum };

/// A GPU's memory on a reactor's thread of its own, the arena, and bare streams for the limits.
class Gpu0 {
 public:
  explicit Gpu0(std::unique_ptr<DeviceMemory> memory) : memory_(std::move(memory)) {
    void* host = ::mmap(nullptr, kHostBytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (host == MAP_FAILED) Require(Status(StatusCode::kRetry, "mmap"), "the arena");
    host_ = {static_cast<std::byte*>(host), kHostBytes};
    for (std::size_t i = 0; i < host_.size(); i += 64) host_[i] = static_cast<std::byte>(i >> 6);
    Require(memory_->RegisterHost(host_), "RegisterHost");
    const auto pool = memory_->Allocate(kPoolBytes);
    Require(pool.status(), "Allocate");
    pool_ = pool.value();
    for (cudaStream_t& stream : streams_) {
      Require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    }
    Require(AllocateDevice(sink_, sizeof *sink_), "cudaMalloc");
    auto reactor = Reactor::Create({.name = "hbm"}, clock_);
    Require(reactor.status(), "Reactor");
    reactor_ = std::move(reactor).value();
    reactor_->AddPoller(memory_->poller());
    reactor_->Start();
  }
  ~Gpu0() {
    while (TasksLeft() > 0) {  // they have said their result, and end in the next turn
    }
    reactor_->Stop();
    reactor_->Join();
    reactor_->RemovePoller(memory_->poller());
    for (cudaStream_t stream : streams_) (void)cudaStreamDestroy(stream);
    (void)cudaFree(sink_);
    memory_->DeregisterHost(host_);
    memory_->Free(pool_);
    ::munmap(host_.data(), host_.size());
  }
  Gpu0(const Gpu0&) = delete;
  Gpu0& operator=(const Gpu0&) = delete;

  /// GB/s of those moves at once, `bytes` each, in blocks.
  double Rate(std::span<const Move> moves, std::uint64_t block, std::uint64_t bytes) {
    std::promise<double> seconds;
    reactor_->Post([&] { scope_.Spawn(MoveAll(this, moves, block, bytes, &seconds)); });
    return static_cast<double>(bytes * moves.size()) / 1e9 / seconds.get_future().get();
  }
  /// Median of one copy of a block within the device, alone, with its checksums, us.
  double Latency(std::uint64_t block) {
    std::promise<double> median;
    reactor_->Post([&] { scope_.Spawn(CopyOneByOne(this, block, &median)); });
    return median.get_future().get();
  }

  /// GB/s of one large bare copy for each of the moves, at once.
  double LargeCopies(std::span<const Move> moves, std::uint64_t bytes) {
    const auto started = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < moves.size(); ++i) QueueLarge(moves[i], bytes, streams_[i]);
    for (std::size_t i = 0; i < moves.size(); ++i) {
      Require(cudaStreamSynchronize(streams_[i]), "cudaStreamSynchronize");
    }
    return static_cast<double>(bytes * moves.size()) / 1e9 / SecondsSince(started);
  }
  /// Microseconds of the device for one bare copy of a block within it.
  double DeviceTime(std::uint64_t block) {
    constexpr int kCopies = 50;
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    Require(cudaEventCreate(&begin), "cudaEventCreate");
    Require(cudaEventCreate(&end), "cudaEventCreate");
    Require(cudaEventRecord(begin, streams_[0]), "cudaEventRecord");
    for (int i = 0; i < kCopies; ++i) QueueWithin(block, streams_[0]);
    Require(cudaEventRecord(end, streams_[0]), "cudaEventRecord");
    Require(cudaEventSynchronize(end), "cudaEventSynchronize");
    float milliseconds = 0;
    Require(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    Require(cudaEventDestroy(begin), "cudaEventDestroy");
    Require(cudaEventDestroy(end), "cudaEventDestroy");
    return static_cast<double>(milliseconds) * 1e3 / kCopies;
  }

 private:
  struct Work {
    Gpu0* gpu;
    Move move;
    std::uint64_t block;
    std::uint64_t left;      // blocks
    std::uint64_t next = 0;  // block
  };

  std::size_t TasksLeft() {
    std::promise<std::size_t> left;
    reactor_->Post([&] { left.set_value(scope_.live()); });
    return left.get_future().get();
  }
  void QueueWithin(std::uint64_t bytes, cudaStream_t stream) const {
    Require(cudaMemcpyAsync(Device(pool_ + kPoolBytes / 2), Device(pool_), bytes,
                            cudaMemcpyDeviceToDevice, stream),
            "cudaMemcpyAsync");
  }
  void QueueLarge(Move move, std::uint64_t bytes, cudaStream_t stream) const {
    constexpr std::uint64_t kHalf = kPoolBytes / 2;
    switch (move) {
      case Move::kIn:
        Require(cudaMemcpyAsync(Device(pool_), host_.data(), bytes, cudaMemcpyHostToDevice, stream),
                "cudaMemcpyAsync");
        return;
      case Move::kOut:
        Require(cudaMemcpyAsync(host_.data(), Device(pool_ + kHalf), bytes, cudaMemcpyDeviceToHost,
                                stream),
                "cudaMemcpyAsync");
        return;
      case Move::kWithin:
        for (std::uint64_t done = 0; done < bytes; done += kHalf) QueueWithin(kHalf, stream);
        return;
      case Move::kChecksum:
        for (std::uint64_t done = 0; done < bytes; done += kPoolBytes) {
          Require(LaunchRead(Device(pool_), kPoolBytes, sink_, stream), "the reading kernel");
        }
        return;
    }
  }
  static std::byte* Device(DeviceAddress address) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): what CUDA takes for an address of the device
    return reinterpret_cast<std::byte*>(address);
  }

  /// Blocks one after the other until none is left; some workers share the work.
  static Task<void> Worker(Work* work) {
    DeviceMemory& memory = *work->gpu->memory_;
    const DeviceAddress pool = work->gpu->pool_;
    const std::uint64_t block = work->block;
    std::vector<std::uint64_t> checksums(ChecksumPieceCount(block));
    constexpr CopyUrgency kUrgency = CopyUrgency::kBackground;
    while (work->left > 0) {
      --work->left;
      const std::uint64_t at = work->next++ * block;
      const DeviceAddress lower = pool + at % (kPoolBytes / 2);
      const DeviceAddress upper = lower + kPoolBytes / 2;
      const auto host = work->gpu->host_.subspan(at % kHostBytes, block);
      Status status;
      switch (work->move) {
        case Move::kIn: status = co_await memory.CopyIn(lower, host, checksums, kUrgency); break;
        case Move::kOut: status = co_await memory.CopyOut(host, upper, checksums, kUrgency); break;
        case Move::kWithin:
          status = co_await memory.CopyWithin(upper, lower, block, checksums, kUrgency);
          break;
        case Move::kChecksum:
          status = co_await memory.Checksum(pool + at % kPoolBytes, block, checksums, kUrgency);
          break;
      }
      Require(status, "a copy");
    }
  }

  static Task<void> MoveAll(Gpu0* gpu, std::span<const Move> moves, std::uint64_t block,
                            std::uint64_t bytes, std::promise<double>* seconds) {
    std::vector<Work> works;
    for (const Move move : moves) works.push_back({gpu, move, block, bytes / block});
    const auto started = std::chrono::steady_clock::now();
    TaskScope workers;
    for (std::size_t i = 0; i < kWorkers; ++i) {
      for (Work& work : works) workers.Spawn(Worker(&work));
    }
    co_await workers.Join();
    seconds->set_value(SecondsSince(started));
  }

  static Task<void> CopyOneByOne(Gpu0* gpu, std::uint64_t block, std::promise<double>* median) {
    std::vector<std::uint64_t> checksums(ChecksumPieceCount(block));
    std::vector<double> microseconds;
    for (std::uint64_t i = 0; i < 200; ++i) {
      const auto started = std::chrono::steady_clock::now();
      const DeviceAddress from = gpu->pool_ + i * block % (kPoolBytes / 2);
      Require(co_await gpu->memory_->CopyWithin(from + kPoolBytes / 2, from, block, checksums,
                                                CopyUrgency::kDemand),
              "a copy within the device");
      microseconds.push_back(SecondsSince(started) * 1e6);
    }
    median->set_value(Median(std::move(microseconds)));
  }

  std::unique_ptr<DeviceMemory> memory_;
  std::span<std::byte> host_;
  DeviceAddress pool_ = 0;
  cudaStream_t streams_[2] = {};
  std::uint32_t* sink_ = nullptr;
  SteadyClock clock_;
  TaskScope scope_;
  std::unique_ptr<Reactor> reactor_;
};

struct Row {
  const char* name;
  const char* limit;
  std::vector<Move> moves;
  std::uint64_t bytes;
};

}  // namespace

std::vector<Figure> BenchHbm(const BenchOptions& options) {
  auto memory = OpenGpu(0);
  if (memory.code() == StatusCode::kUnsupported) {
    std::fprintf(stderr, "terrace-bench hbm: %s: nothing was measured\n",
                 memory.status().message().c_str());
    return {};
  }
  Require(memory.status(), "the GPU");
  Gpu0 gpu(std::move(memory).value());
  const Row rows[] = {
      {"promote", "one large copy from pinned memory", {Move::kIn}, kHostBytes},
      {"demote", "one large copy to pinned memory", {Move::kOut}, kHostBytes},
      {"both_ways", "two large copies at once", {Move::kIn, Move::kOut}, kHostBytes},
      {"device_copy", "a large device-to-device copy", {Move::kWithin}, kDeviceWork},
      {"checksum", "a kernel that only reads", {Move::kChecksum}, kDeviceWork}};
  std::vector<Figure> figures;
  for (const Row& row : rows) {
    for (const std::uint64_t block : kBlocks) {
      figures.push_back(ComparePairs(
          std::string(row.name) + "_" + std::to_string(block / kMiB) + "MiB", "GB/s", row.limit,
          [&] { return gpu.LargeCopies(row.moves, row.bytes); },
          [&] { return gpu.Rate(row.moves, block, row.bytes); },
          {.rounds = options.rounds, .by_state = false}));
    }
  }
  figures.push_back(ComparePairs(
      "hit_1MiB_p50", "us", "60 us and the device's copy",
      [&] { return 60 + gpu.DeviceTime(kMiB); }, [&] { return gpu.Latency(kMiB); },
      {.rounds = options.rounds, .higher_is_better = false, .by_state = false}));
  return figures;
}

}  // namespace terrace::bench

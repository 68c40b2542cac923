// The path `gather-gpu`: what it costs that the blocks of a cache in device memory lie in
// pages.
//
// Limits, all in the same run: a device-to-device copy of the same bytes, one large copy between
// device and pinned host memory in that direction, and the longer of computing and moving alone.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/cuda_status.h"
#include "base/random.h"
#include "client/cuda/copy_pages.h"
#include "client/cuda/cuda_mover.h"
#include "client/cuda/quantise_pages.h"
#include "client/layout.hpp"
#include "client/paged/make_map.h"
#include "tools/bench/limits/busy_kernel.h"
#include "tools/bench/paths.h"

namespace terrace::bench {
namespace {

using paged::MoveWay;

/// A model's cache on one rank, bf16, pages of 16 tokens, as vLLM lays it out.
struct Geometry {
  const char* name;
  std::uint32_t layers;
  std::uint32_t heads;
  std::uint32_t head_dim;
  bool latent;

  [[nodiscard]] CacheLayout Layout(std::uint32_t pages) const noexcept {
    const CacheShape shape{layers, pages, 16, heads, head_dim, ElementType::kBf16};
    return latent ? Latent(shape) : PartsFirst(shape, PageOrder::kNhd);
  }
  /// Of one layer's tensor.
  [[nodiscard]] std::uint64_t LayerBytes(std::uint32_t pages) const noexcept {
    return std::uint64_t{latent ? 1U : 2U} * pages * 16 * heads * head_dim * 2;
  }
};

constexpr Geometry kGeometries[] = {
    {"llama3-8b", 32, 8, 128, false},
    {"llama3-70b-tp8", 80, 1, 128, false},
    {"deepseek-v3-mla", 61, 1, 576, true},
};

constexpr std::uint64_t kHostBytes = std::uint64_t{2} << 30;  // of pinned frames, walked in turn
constexpr paged::CopyGrid kWholeDevice{4096, 0};

void Require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "terrace-bench gather-gpu: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(1);
  }
}
void Require(const Status& status, const char* what) {
  if (!status.ok()) {
    std::fprintf(stderr, "terrace-bench gather-gpu: %s: %s\n", what, status.ToString().c_str());
    std::exit(1);
  }
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) {
    Require(AllocateDevice(data_, count * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(std::span<const T> values) : DeviceArray(values.size()) {
    Require(cudaMemcpy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
            "cudaMemcpy");
  }
  ~DeviceArray() { (void)cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  [[nodiscard]] T* data() const noexcept { return data_; }

 private:
  T* data_ = nullptr;
};

/// Seconds that the device takes for what `work` queues on the stream. The device is kept busy
/// until all of it is queued, so that no gap of the host's is counted.
class StreamTimer {
 public:
  StreamTimer() {
    Require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    Require(cudaEventCreate(&begin_), "cudaEventCreate");
    Require(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~StreamTimer() {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
    (void)cudaStreamDestroy(stream_);
  }
  StreamTimer(const StreamTimer&) = delete;
  StreamTimer& operator=(const StreamTimer&) = delete;
  [[nodiscard]] cudaStream_t stream() const noexcept { return stream_; }

  template <typename Work>
  double Seconds(const Work& work) {
    constexpr std::uint32_t kSteps = 100000;  // about 0.2 ms
    Require(LaunchBusy(1, 1, kSteps, sink_.data(), stream_), "LaunchBusy");
    Require(cudaEventRecord(begin_, stream_), "cudaEventRecord");
    work(stream_);
    Require(cudaEventRecord(end_, stream_), "cudaEventRecord");
    Require(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    Require(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return static_cast<double>(milliseconds) / 1e3;
  }

 private:
  DeviceArray<float> sink_{1};
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

/// A cache of `pages` pages in device memory, filled with numbers, its pages in a random order.
class PagedOnGpu {
 public:
  PagedOnGpu(const Geometry& geometry, std::uint32_t pages)
      : cache_(geometry.Layout(pages)),
        layer_bytes_(geometry.LayerBytes(pages)),
        memory_(layer_bytes_ * cache_.layers) {
    std::vector<std::uint16_t> pattern(std::size_t{16} << 20);
    SeededRandom random(1);
    for (std::uint16_t& bits : pattern) {
      bits = static_cast<std::uint16_t>(0x3e00 | (random.Next() & 0x81ff));  // bf16 near 0.1 to 4
    }
    const std::uint64_t bytes = layer_bytes_ * cache_.layers;
    for (std::uint64_t done = 0; done < bytes; done += pattern.size() * 2) {
      Require(cudaMemcpy(memory_.data() + done, pattern.data(),
                         std::min<std::uint64_t>(pattern.size() * 2, bytes - done),
                         cudaMemcpyHostToDevice),
              "cudaMemcpy");
    }
    for (std::uint32_t layer = 0; layer < cache_.layers; ++layer) {
      bases_.push_back(memory_.data() + layer * layer_bytes_);
    }
    pages_.resize(pages);
    std::iota(pages_.begin(), pages_.end(), 0U);
    for (std::size_t i = pages_.size(); i > 1; --i) {
      std::swap(pages_[i - 1], pages_[random.Below(i)]);
    }
  }
  [[nodiscard]] const CacheLayout& layout() const noexcept { return cache_; }
  [[nodiscard]] std::span<void* const> bases() const noexcept { return bases_; }
  [[nodiscard]] const std::vector<std::uint32_t>& pages() const noexcept { return pages_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return layer_bytes_ * cache_.layers; }
  [[nodiscard]] const std::byte* memory() const noexcept { return memory_.data(); }

 private:
  CacheLayout cache_;
  std::uint64_t layer_bytes_;
  DeviceArray<std::byte> memory_;
  std::vector<void*> bases_;
  std::vector<std::uint32_t> pages_;
};

/// Between the pages and dense frames on the device.
void MeasureOnDevice(const std::string& name, const PagedOnGpu& cache, const StoredLayout& stored,
                     const BenchOptions& options, std::vector<Figure>& figures) {
  const std::uint64_t frame_bytes = FrameBytes(cache.layout(), stored);
  const auto blocks = static_cast<std::uint32_t>(cache.pages().size());
  const DeviceArray<std::byte> frames(std::max(frame_bytes * blocks, cache.bytes()));
  std::vector<std::uint64_t> addresses(blocks);
  for (std::uint32_t i = 0; i < blocks; ++i) {
    addresses[i] = reinterpret_cast<std::uint64_t>(frames.data()) + i * frame_bytes;
  }
  const DeviceArray<std::uint64_t> bases(paged::LayerTable(cache.bases(), {}));
  const paged::BlockList list{addresses.data(), cache.pages().data(), 1, blocks};
  StreamTimer timer;
  std::uint32_t launched = 0;
  const auto rate = [&](double seconds) {
    return static_cast<double>(cache.bytes()) / seconds / 1e9;
  };
  const auto copy = [&] {
    return rate(timer.Seconds([&](cudaStream_t stream) {
      Require(cudaMemcpyAsync(frames.data(), cache.memory(), cache.bytes(),
                              cudaMemcpyDeviceToDevice, stream),
              "cudaMemcpyAsync");
    }));
  };
  for (const MoveWay way : {MoveWay::kGather, MoveWay::kScatter}) {
    const auto move = [&] {
      return rate(timer.Seconds([&](cudaStream_t stream) {
        if (stored.type == StoredType::kLossless) {
          const auto map = paged::MakePageMap(cache.layout(), stored, cache.bases());
          Require(map.status(), "MakePageMap");
          Require(paged::LaunchCopyPages({map.value(), bases.data(), 16}, list, way, kWholeDevice,
                                         stream, launched),
                  "the kernel");
        } else {
          const auto map = paged::MakeQuantMap(cache.layout(), stored, cache.bases());
          Require(map.status(), "MakeQuantMap");
          Require(paged::LaunchQuantisePages({map.value(), bases.data(), 16}, list, way,
                                             kWholeDevice, stream, launched),
                  "the kernel");
        }
      }));
    };
    figures.push_back(ComparePairs(name + (way == MoveWay::kGather ? "_gather" : "_scatter"),
                                   "GB/s", "a device-to-device copy of the cache's bytes", copy,
                                   move, {.rounds = options.rounds, .by_state = false}));
  }
}

/// Pinned host memory as frames of a mover.
class HostFrames {
 public:
  explicit HostFrames(paged::CudaMover& mover) : mover_(mover) {
    memory_ = static_cast<std::byte*>(std::aligned_alloc(std::size_t{2} << 20, kHostBytes));
    std::fill_n(memory_, kHostBytes, std::byte{1});
    Require(mover_.RegisterFrames({memory_, kHostBytes}, false), "registering host memory");
  }
  ~HostFrames() {
    mover_.DeregisterFrames({memory_, kHostBytes});
    std::free(memory_);
  }
  HostFrames(const HostFrames&) = delete;
  HostFrames& operator=(const HostFrames&) = delete;
  [[nodiscard]] std::byte* data() const noexcept { return memory_; }

 private:
  paged::CudaMover& mover_;
  std::byte* memory_ = nullptr;
};

void Finish(paged::CudaMover& mover, std::vector<paged::MoveId>& moves) {
  for (const paged::MoveId move : moves) {
    Status status = mover.Done(move);
    while (status.code() == StatusCode::kRetry) {
      std::this_thread::yield();
      status = mover.Done(move);
    }
    Require(status, "a move");
  }
  moves.clear();
}

/// All blocks of the cache in moves of move_blocks, layers at once; seconds.
double MoveAll(paged::CudaMover& mover, const PagedOnGpu& cache, const HostFrames& frames,
               std::uint64_t frame_bytes, std::uint32_t move_blocks, MoveWay way) {
  const std::uint64_t ring = kHostBytes / frame_bytes;
  std::vector<paged::BlockMove> blocks;
  std::vector<paged::MoveId> moves;
  const auto started = std::chrono::steady_clock::now();
  for (std::size_t first = 0; first < cache.pages().size(); first += move_blocks) {
    blocks.clear();
    for (std::size_t i = first; i < std::min(cache.pages().size(), first + move_blocks); ++i) {
      blocks.push_back({frames.data() + i % ring * frame_bytes, &cache.pages()[i]});
    }
    const auto move = mover.Start({way, blocks, 0, cache.layout().layers, {}});
    Require(move.status(), "Start");
    moves.push_back(move.value());
  }
  Finish(mover, moves);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

/// One large copy between the frames' memory and the cache, in that direction; GB/s.
double LargeCopy(StreamTimer& timer, const PagedOnGpu& cache, const HostFrames& frames,
                 MoveWay way) {
  const std::uint64_t bytes = std::min(kHostBytes, cache.bytes());
  auto* device = const_cast<std::byte*>(cache.memory());
  return static_cast<double>(bytes) / 1e9 / timer.Seconds([&](cudaStream_t stream) {
    Require(way == MoveWay::kGather
                ? cudaMemcpyAsync(frames.data(), device, bytes, cudaMemcpyDeviceToHost, stream)
                : cudaMemcpyAsync(device, frames.data(), bytes, cudaMemcpyHostToDevice, stream),
            "cudaMemcpyAsync");
  });
}

void MeasureToHost(const std::string& name, const PagedOnGpu& cache, const StoredLayout& stored,
                   const BenchOptions& options, std::vector<Figure>& figures) {
  constexpr std::uint32_t kMoveBlocks = 512;
  auto mover = paged::CudaMover::Make(cache.layout(), stored, cache.bases(), {.moves = 16});
  Require(mover.status(), "CudaMover");
  const HostFrames frames(*mover.value());
  const std::uint64_t frame_bytes = FrameBytes(cache.layout(), stored);
  const double moved = static_cast<double>(frame_bytes) * static_cast<double>(cache.pages().size());
  StreamTimer timer;
  for (const MoveWay way : {MoveWay::kGather, MoveWay::kScatter}) {
    figures.push_back(ComparePairs(
        name + (way == MoveWay::kGather ? "_gather" : "_scatter"), "GB/s",
        way == MoveWay::kGather ? "one large copy to pinned memory"
                                : "one large copy from pinned memory",
        [&] { return LargeCopy(timer, cache, frames, way); },
        [&] {
          return moved / 1e9 /
                 MoveAll(*mover.value(), cache, frames, frame_bytes, kMoveBlocks, way);
        },
        {.rounds = options.rounds, .by_state = false}));
  }
}

/// Layers moved one after the other while kernels as long as the transfer compute them, which fill
/// the whole device; against the longer of both alone. Scattered layers are computed once they are
/// there; gathered ones are moved once they are computed.
class LayerOverlap {
 public:
  LayerOverlap(const PagedOnGpu& cache, paged::CudaMover& mover, const HostFrames& frames,
               MoveWay way)
      : cache_(cache), mover_(mover), way_(way), sink_(1) {
    Require(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, 0),
            "cudaDeviceGetAttribute");
    const StoredLayout stored{.block_tokens = 16, .order = StoredOrder::kTokensFirst};
    frame_bytes_ = FrameBytes(cache.layout(), stored);
    layer_bytes_ = FrameBytes(cache.layout(), stored, {0, 1});
    for (std::size_t i = 0; i < cache.pages().size(); ++i) {
      blocks_.push_back({frames.data() + i * frame_bytes_, &cache.pages()[i]});
    }
    // Steps of the kernel, so that all layers together take as long as their transfer.
    Transfer();
    const double transfer = Transfer();
    Compute();
    const double once = Compute();
    steps_ = static_cast<std::uint32_t>(static_cast<double>(steps_) * transfer / once);
  }

  double Transfer() { return Run(true, false); }
  double Compute() { return Run(false, true); }
  double Both() { return Run(true, true); }

 private:
  double Run(bool move, bool compute) {
    const auto started = std::chrono::steady_clock::now();
    std::vector<paged::MoveId> moves;
    if (way_ == MoveWay::kScatter) {
      RunScatter(move, compute, moves);
    } else {
      RunGather(move, compute, moves);
    }
    Require(cudaStreamSynchronize(timer_.stream()), "cudaStreamSynchronize");
    Finish(mover_, moves);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  }
  void RunScatter(bool move, bool compute, std::vector<paged::MoveId>& moves) {
    if (move) {
      moves.push_back(Begin(blocks_, 0, cache_.layout().layers, {}));
    }
    for (std::uint32_t layer = 0; compute && layer < cache_.layout().layers; ++layer) {
      if (move) {
        Require(mover_.OrderBehind(timer_.stream(), moves.front(), layer + 1), "OrderBehind");
      }
      ComputeLayer();
    }
  }
  void RunGather(bool move, bool compute, std::vector<paged::MoveId>& moves) {
    std::vector<paged::BlockMove> blocks = blocks_;
    for (std::uint32_t layer = 0; layer < cache_.layout().layers; ++layer) {
      paged::StreamPoint after;
      if (compute) {
        ComputeLayer();
        if (move) {
          const auto point = mover_.Mark(timer_.stream());
          Require(point.status(), "Mark");
          after = point.value();
        }
      }
      if (move) {
        moves.push_back(Begin(blocks, layer, 1, after));
        for (paged::BlockMove& block : blocks) {
          block.frame += layer_bytes_;
        }
      }
    }
  }
  paged::MoveId Begin(std::span<const paged::BlockMove> blocks, std::uint32_t layer,
                      std::uint32_t layers, paged::StreamPoint after) {
    const auto id = mover_.Start({way_, blocks, layer, layers, after, true});
    Require(id.status(), "Start");
    return id.value();
  }
  void ComputeLayer() {
    Require(LaunchBusy(static_cast<std::uint32_t>(multiprocessors_), kWaves, steps_, sink_.data(),
                       timer_.stream()),
            "LaunchBusy");
  }

  // Short thread blocks: that some of them find a multiprocessor taken must not cost a whole round.
  static constexpr std::uint32_t kWaves = 64;
  const PagedOnGpu& cache_;
  paged::CudaMover& mover_;
  MoveWay way_;
  DeviceArray<float> sink_;
  StreamTimer timer_;
  int multiprocessors_ = 0;
  std::uint32_t steps_ = 2000;
  std::uint64_t frame_bytes_ = 0;
  std::uint64_t layer_bytes_ = 0;
  std::vector<paged::BlockMove> blocks_;
};

void MeasureOverlap(const std::string& name, const PagedOnGpu& cache, const BenchOptions& options,
                    std::vector<Figure>& figures) {
  const StoredLayout stored{.block_tokens = 16, .order = StoredOrder::kTokensFirst};
  auto mover = paged::CudaMover::Make(cache.layout(), stored, cache.bases(), {.moves = 128});
  Require(mover.status(), "CudaMover");
  const HostFrames frames(*mover.value());
  for (const MoveWay way : {MoveWay::kGather, MoveWay::kScatter}) {
    LayerOverlap overlap(cache, *mover.value(), frames, way);
    figures.push_back(ComparePairs(
        name + (way == MoveWay::kGather ? "_gather" : "_scatter"), "ms",
        "the longer of moving and computing alone",
        [&] { return 1e3 * std::max(overlap.Transfer(), overlap.Compute()); },
        [&] { return 1e3 * overlap.Both(); },
        {.rounds = options.rounds, .higher_is_better = false, .by_state = false}));
  }
}

}  // namespace

std::vector<Figure> BenchGatherGpu(const BenchOptions& options) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    (void)cudaGetLastError();
    std::fprintf(stderr, "terrace-bench gather-gpu: no GPU or no driver: nothing is measured\n");
    return {};
  }
  std::vector<Figure> figures;
  for (const Geometry& geometry : kGeometries) {
    for (const std::uint32_t pages : {256U, 4096U}) {
      const PagedOnGpu cache(geometry, pages);
      const std::string name = std::string(geometry.name) + "_" + std::to_string(pages);
      const StoredLayout stored{.block_tokens = 16, .order = StoredOrder::kTokensFirst};
      MeasureOnDevice("gpu_" + name, cache, stored, options, figures);
      MeasureToHost("pcie_" + name, cache, stored, options, figures);
      StoredLayout other = stored;
      other.order = StoredOrder::kHeadsFirst;
      if (cache.layout().heads > 1) {
        MeasureOnDevice("gpu_heads_first_" + name, cache, other, options, figures);
      }
      for (const StoredType type : {StoredType::kFp8E4m3, StoredType::kInt8}) {
        other.type = type;
        MeasureOnDevice((type == StoredType::kInt8 ? "gpu_int8_" : "gpu_fp8_") + name, cache, other,
                        options, figures);
      }
      if (pages == 256) {
        MeasureOverlap("overlap_" + name, cache, options, figures);
      }
    }
  }
  return figures;
}

}  // namespace terrace::bench

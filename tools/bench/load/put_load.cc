#include "tools/bench/load/put_load.h"

#include <chrono>

#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"

namespace terrace::bench {

namespace {

constexpr auto kCallMax = std::chrono::seconds(30);
constexpr std::uint64_t kPassBlocks = 256;
// Long enough for kDepth durable puts to have been answered several times over.
constexpr std::chrono::milliseconds kRunUp{100};

}  // namespace

PutLoad::PutLoad(const std::string& address, std::uint64_t block_bytes)
    : block_bytes_(block_bytes), client_(ConnectOnThisHost(address)) {
  NamespaceDescriptor descriptor = BenchNamespace(block_bytes);
  descriptor.name = "put-load";
  const Result<NamespaceId> space = client_->OpenNamespace(descriptor, In(kCallMax));
  Require(space.status(), "open namespace");
  space_ = *space;
  const Result<RegionId> region = client_->AllocateRegion(kPassBlocks * block_bytes);
  Require(region.status(), "allocate region");
  for (std::uint32_t position = 0; position < kPassBlocks; ++position) {
    blocks_.push_back({.position = position, .region = *region, .offset = position * block_bytes});
  }
}

PutLoad::~PutLoad() = default;

void PutLoad::Start() {
  stop_ = false;
  thread_ = std::thread([this] { Run(); });
  std::this_thread::sleep_for(kRunUp);
}

void PutLoad::Stop() {
  stop_ = true;
  thread_.join();
}

void PutLoad::Run() {
  while (!stop_) {
    const Chain chain = BenchChain(kPassBlocks, ++pass_);
    const PipelineRun run =
        RunPipeline({*client_, space_, chain}, blocks_, PipelineKind::kPutDurable, kDepth, &stop_);
    seconds_ += run.seconds;
    for (const BlockResult& result : run.results) {
      if (result.status == StatusCode::kCancelled) continue;
      if (result.status == StatusCode::kOk && result.ack == Ack::kDurable) {
        durable_bytes_ += block_bytes_;
      } else {
        ++declined_;
      }
    }
  }
}

}  // namespace terrace::bench

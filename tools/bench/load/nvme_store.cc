#include "tools/bench/load/nvme_store.h"

#include <filesystem>

#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/cold_memory.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kColdBytesMost = 2048 * kMiB;
constexpr std::uint64_t kFillerBlockBytes = 4 * kMiB;
/// Bursts are whole blocks of every size, also of the largest.
constexpr std::uint64_t kLogGranule = 32 * 4 * kMiB;

}  // namespace

NvmeStore::NvmeStore(const BenchOptions& options)
    : log_bytes_(options.log_bytes / kLogGranule * kLogGranule), scratch_(options.folder) {
  std::filesystem::create_directory(folder());
}

void NvmeStore::Start() {
  daemon_ = std::make_unique<DaemonProcess>(DaemonSettings{
      .dram_bytes = burst_bytes(), .nvme_folder = folder(), .nvme_bytes = log_bytes_});
  client_ = ConnectOnThisHost(daemon_->address());
  filler_ =
      std::make_unique<NvmeWorkload>(*client_, NvmeWorkloadOptions{.name = "filler",
                                                                   .block_bytes = kFillerBlockBytes,
                                                                   .set_bytes = log_bytes_,
                                                                   .burst_bytes = burst_bytes(),
                                                                   .put_bytes = burst_bytes(),
                                                                   .memory_bytes = burst_bytes()});
  filler_->FillSet();
}

NvmeWorkloadOptions NvmeStore::WorkloadOf(std::uint64_t block_bytes) const {
  return {.name = "bench-" + std::to_string(block_bytes),
          .block_bytes = block_bytes,
          .set_bytes = 8 * burst_bytes(),
          .burst_bytes = burst_bytes(),
          .put_bytes = put_bytes(),
          .memory_bytes = ColdBytes(put_bytes(), kColdBytesMost)};
}

void NvmeStore::FlushDram() {
  // Twice its size: some of the filler may go before the last of the others does.
  for (int burst = 0; burst < 2; ++burst) filler_->Put();
}

}  // namespace terrace::bench

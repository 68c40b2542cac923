#include "tools/terraced/daemon_options.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"

namespace terrace {

ReactorOptions ReactorOptionsOf(const DaemonConfig& config, std::uint32_t reactor) {
  TERRACE_CHECK(reactor < config.server.reactors);
  ReactorOptions options;
  options.name = "reactor-" + std::to_string(reactor);
  options.spin = config.server.spin_us * kMicrosecond;
  options.use_io_uring = config.server.io_uring;
  return options;
}

ServerOptions ServerOptionsOf(const DaemonConfig& config, std::uint32_t reactor) {
  TERRACE_CHECK(reactor < config.server.reactors);
  const ServerConfig& server = config.server;
  ServerOptions options;
  options.host = server.listen.host;
  if (server.listen.port != 0) {
    options.port = static_cast<std::uint16_t>(server.listen.port + reactor);
  }
  options.peers_max = server.clients_max;
  options.heartbeat = server.heartbeat_ms * kMillisecond;
  options.heartbeat_idle = server.heartbeat_idle_ms * kMillisecond;
  options.peer_timeout = server.client_timeout_ms * kMillisecond;
  options.same_host = server.same_host;
  options.rdma = server.rdma;
  options.lent_bytes_max =
      config.dram.capacity_bytes / server.reactors / 100 * config.dram.lend_percent;
  options.lent_device_bytes_max =
      LendsHbm(config) ? config.hbm.gpus.size() * HbmBytesOf(config) / 100 * config.hbm.lend_percent
                       : 0;
  return options;
}

std::uint64_t HbmBytesOf(const DaemonConfig& config) {
  return config.hbm.gpu_capacity_bytes / config.server.reactors;
}

bool LendsHbm(const DaemonConfig& config) {
  return config.server.same_host && config.hbm.enabled() && !config.hbm.lend_tenants.empty();
}

HbmOptions HbmOptionsOf(const DaemonConfig& config, std::size_t gpu) {
  constexpr std::uint32_t kExtentsMax = 1U << 16;  // of 2 MiB to 1 GiB, of a pool of up to 1 TiB
  return {.capacity_bytes = HbmBytesOf(config),
          .copies = {},
          .lendable = LendsHbm(config),
          .first_extent = kDeviceExtentFirst + static_cast<std::uint32_t>(gpu) * kExtentsMax};
}

CacheOptions CacheOptionsOf(const DaemonConfig& config, std::uint32_t reactor,
                            std::uint64_t nvme_bytes) {
  TERRACE_CHECK(reactor < config.server.reactors);
  const std::uint32_t reactors = config.server.reactors;
  CacheOptions options;
  options.arena.capacity_bytes = config.dram.capacity_bytes / reactors;
  options.arena.extent_bytes = config.dram.extent_bytes;
  options.arena.huge_pages = config.dram.huge_pages;
  options.arena.lendable = config.server.same_host && config.dram.lend_percent > 0;
  options.arena.name = "dram-" + std::to_string(reactor);
  options.blocks_max =
      config.cache.blocks_max / reactors + (config.cache.blocks_max % reactors != 0 ? 1U : 0U);
  const std::uint64_t hbm_bytes = config.hbm.gpus.size() * HbmBytesOf(config);
  if (LendsHbm(config)) options.hbm_lend_tenants = config.hbm.lend_tenants;
  const std::uint64_t beside = nvme_bytes + hbm_bytes;
  if (options.blocks_max == 0 && beside > 0) {
    // What is on NVMe or in HBM is in the index too: room for blocks of 64 KiB there, and for
    // frames of 4 KiB in DRAM as without it.
    constexpr std::uint64_t kUsualBlockBytes = 64 << 10;
    constexpr std::uint64_t kIndexBlocksMax = 1ULL << 31;
    const std::uint64_t frames = options.arena.capacity_bytes / kBlockBytesMin;
    const std::uint64_t blocks = (options.arena.capacity_bytes + beside) / kUsualBlockBytes;
    options.blocks_max = static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(std::max(frames, blocks), 1, kIndexBlocksMax));
  }
  options.transfers_max = config.cache.transfers_max;
  options.window_per_request = config.cache.window_per_request;
  options.policy = config.cache.policy;
  options.event_bytes = config.cache.events_bytes;
  if (config.nvme.write == "worth") {
    options.nvme_write_share = config.nvme.write_percent_of_puts / 100.0;
  }
  return options;
}

LogOptions LogOptionsOf(const DaemonConfig& config) {
  return {.level = config.log.level,
          .file = config.log.file,
          .rate_limit_per_s = config.log.rate_limit_per_s};
}

}  // namespace terrace

// The settings of each part of the daemon, from its configuration. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/reactor.h"
#include "cache/cache.h"
#include "tiers/hbm/hbm_tier.h"
#include "tools/terraced/config/config.h"
#include "tools/terraced/logs/logging.h"
#include "transport/server.h"

namespace terrace {

/// REQUIRES of the three below: reactor < config.server.reactors.
ReactorOptions ReactorOptionsOf(const DaemonConfig& config, std::uint32_t reactor);
/// Port + reactor, or 0 when the configured port is 0.
ServerOptions ServerOptionsOf(const DaemonConfig& config, std::uint32_t reactor);
/// One reactor's equal share of capacity and blocks, rounded down (blocks: up).
CacheOptions CacheOptionsOf(const DaemonConfig& config, std::uint32_t reactor,
                            std::uint64_t nvme_bytes = 0);

/// What each reactor has of each GPU.
[[nodiscard]] std::uint64_t HbmBytesOf(const DaemonConfig& config);
/// Some clients may be lent memory of GPUs.
[[nodiscard]] bool LendsHbm(const DaemonConfig& config);
/// A reactor's share of a GPU; `gpu`: its place in hbm.gpus.
HbmOptions HbmOptionsOf(const DaemonConfig& config, std::size_t gpu);

LogOptions LogOptionsOf(const DaemonConfig& config);

}  // namespace terrace

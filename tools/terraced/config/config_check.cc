#include "tools/terraced/config/config_check.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <system_error>

#include "base/limits.h"
#include "cache/policy/policies.h"
#include "tools/common/byte_size.h"

namespace terrace {

namespace {

using Problems = std::vector<ConfigProblem>;

void CheckAddresses(const DaemonConfig& config, Problems& problems) {
  const ServerConfig& server = config.server;
  if (!server.listen.IsLoopback() && !server.trusted_network) {
    problems.push_back(
        {{"server.listen", "server.trusted_network"},
         server.listen.ToString() +
             " can be reached from other hosts, and nothing is authenticated: anyone there can "
             "read and write what this daemon stores, as any tenant. Listen on 127.0.0.1, or set "
             "server.trusted_network = true where a firewall or a separate network keeps "
             "everybody else away"});
  }
  const MetricsConfig& metrics = config.metrics;
  if (metrics.enabled && !metrics.listen.IsLoopback() && !server.trusted_network) {
    problems.push_back({{"metrics.listen", "server.trusted_network"},
                        metrics.listen.ToString() +
                            " can be reached from other hosts and the port asks for no password: "
                            "listen on 127.0.0.1, or set server.trusted_network = true"});
  }
}

void CheckPorts(const DaemonConfig& config, Problems& problems) {
  const ServerConfig& server = config.server;
  const std::uint32_t first = server.listen.port;
  if (first == 0) return;
  const std::uint32_t last = first + server.reactors - 1;
  if (last > 65535) {
    problems.push_back({{"server.reactors", "server.listen"},
                        std::to_string(server.reactors) + " reactors need the ports " +
                            std::to_string(first) + " to " + std::to_string(last) +
                            ", but 65535 is the last"});
  }
  const ListenAddress& metrics = config.metrics.listen;
  const bool same_host =
      metrics.host == server.listen.host || metrics.IsAnyAddress() || server.listen.IsAnyAddress();
  if (config.metrics.enabled && same_host && metrics.port >= first && metrics.port <= last) {
    const auto free_port = static_cast<std::uint16_t>(first > 1 ? first - 1 : last + 1);
    problems.push_back({{"metrics.listen", "server.listen", "server.reactors"},
                        "port " + std::to_string(metrics.port) + " is that of reactor " +
                            std::to_string(metrics.port - first) +
                            ": the reactors take the ports " + std::to_string(first) + " to " +
                            std::to_string(last) + "; set metrics.listen to another port, e.g. " +
                            ListenAddress{metrics.host, free_port}.ToString()});
  }
}

void CheckTimes(const ServerConfig& server, Problems& problems) {
  if (server.heartbeat_idle_ms < server.heartbeat_ms) {
    problems.push_back(
        {{"server.heartbeat_idle_ms", "server.heartbeat_ms"},
         std::to_string(server.heartbeat_idle_ms) +
             " ms is less than server.heartbeat_ms = " + std::to_string(server.heartbeat_ms) +
             ": a client that waits for nothing need not speak more often"});
  }
  if (server.client_timeout_ms < 3ULL * server.heartbeat_ms) {
    problems.push_back({{"server.client_timeout_ms", "server.heartbeat_ms"},
                        std::to_string(server.client_timeout_ms) +
                            " ms is less than three times server.heartbeat_ms = " +
                            std::to_string(server.heartbeat_ms) +
                            ": one late heartbeat would end a healthy client"});
  }
  if (server.client_timeout_ms < 2ULL * server.heartbeat_idle_ms) {
    problems.push_back({{"server.client_timeout_ms", "server.heartbeat_idle_ms"},
                        std::to_string(server.client_timeout_ms) +
                            " ms is less than twice server.heartbeat_idle_ms = " +
                            std::to_string(server.heartbeat_idle_ms) +
                            ": one late heartbeat would end an idle client"});
  }
}

void CheckMemory(const DaemonConfig& config, std::uint64_t memory_bytes, Problems& problems) {
  constexpr std::uint64_t kArenaBytesMin = 2ULL << 20;  // one extent: tiers/dram/frame_arena.h
  const DramConfig& dram = config.dram;
  const std::uint64_t least = kArenaBytesMin * config.server.reactors;
  if (dram.capacity_bytes < least) {
    problems.push_back({{"dram.capacity", "server.reactors"},
                        FormatByteSize(dram.capacity_bytes) + " is too little for " +
                            std::to_string(config.server.reactors) +
                            " reactors, which need 2 MiB each"});
  }
  if (dram.capacity_bytes > memory_bytes) {
    problems.push_back({{"dram.capacity"},
                        FormatByteSize(dram.capacity_bytes) + " is more than the " +
                            FormatByteSize(memory_bytes) + " of memory that this process may use"});
  }
  if (!std::has_single_bit(dram.extent_bytes)) {
    problems.push_back(
        {{"dram.extent"}, FormatByteSize(dram.extent_bytes) + " is not a power of two"});
  }
  if (config.cache.window_per_request > config.cache.transfers_max) {
    problems.push_back(
        {{"cache.window_per_request", "cache.transfers_max"},
         std::to_string(config.cache.window_per_request) + " is more than cache.transfers_max = " +
             std::to_string(config.cache.transfers_max) + ": one request can never use it"});
  }
  if (const auto policy = FindPolicy(config.cache.policy); !policy.ok()) {
    problems.push_back({{"cache.policy"}, policy.status().message()});
  }
  if (config.cache.blocks_max != 0 && config.cache.blocks_max < config.server.reactors) {
    problems.push_back({{"cache.blocks_max", "server.reactors"},
                        std::to_string(config.cache.blocks_max) + " blocks cannot be shared by " +
                            std::to_string(config.server.reactors) +
                            " reactors; each needs at least one"});
  }
}

void CheckNvme(const DaemonConfig& config, Problems& problems) {
  const NvmeConfig& nvme = config.nvme;
  if (nvme.write != "everything" && nvme.write != "worth") {
    problems.push_back(
        {{"nvme.write"}, "is \"" + nvme.write + "\"; there are \"everything\" and \"worth\""});
  }
  constexpr std::uint64_t kReadLimitMin = 1 << 20;  // a block of 4 MiB in 4 s
  if (nvme.read_bytes_per_s != 0 &&
      nvme.read_bytes_per_s < kReadLimitMin * config.server.reactors) {
    problems.push_back({{"nvme.read_bytes_per_s", "server.reactors"},
                        FormatByteSize(nvme.read_bytes_per_s) + " a second is too little for " +
                            std::to_string(config.server.reactors) +
                            " reactors, which need 1 MiB each; 0 is no limit"});
  }
  if (!nvme.enabled()) {
    if (!nvme.files.empty()) {
      problems.push_back(
          {{"nvme.files", "nvme.folder"},
           "without nvme.folder there is no NVMe tier: name a folder for its index"});
    }
    return;
  }
  std::error_code error;
  std::filesystem::path folder(nvme.folder);
  if (!folder.has_filename()) folder = folder.parent_path();  // "/data/nvme/"
  const std::filesystem::path parent = folder.has_parent_path() ? folder.parent_path() : ".";
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_directory(folder, error)) {
    problems.push_back({{"nvme.folder"}, "\"" + nvme.folder + "\" is not a folder"});
  } else if (!std::filesystem::is_directory(parent, error)) {
    problems.push_back(
        {{"nvme.folder"}, "there is no folder \"" + parent.string() + "\"; make it first"});
  }
  for (std::size_t i = 0; i < nvme.files.size(); ++i) {
    if (std::find(nvme.files.begin(), nvme.files.begin() + static_cast<std::ptrdiff_t>(i),
                  nvme.files[i]) != nvme.files.begin() + static_cast<std::ptrdiff_t>(i)) {
      problems.push_back({{"nvme.files"}, "names \"" + nvme.files[i] + "\" twice"});
    }
  }
  if (nvme.drive_writes_per_day > 0 && nvme.write_bytes_per_day > 0) {
    problems.push_back({{"nvme.drive_writes_per_day", "nvme.write_bytes_per_day"},
                        "both limit the writes of a day: set one of them"});
  }
}

void CheckHbmLending(const DaemonConfig& config, Problems& problems) {
  const std::vector<std::string>& tenants = config.hbm.lend_tenants;
  if (tenants.empty()) return;
  if (!config.hbm.enabled()) {
    problems.push_back({{"hbm.lend_tenants", "hbm.gpus"},
                        "without hbm.gpus there is no HBM tier to lend from: name the GPUs"});
  }
  if (!config.server.same_host) {
    problems.push_back({{"hbm.lend_tenants", "server.same_host"},
                        "only clients over shared memory can be lent anything: turn it on"});
  }
  for (auto tenant = tenants.begin(); tenant != tenants.end(); ++tenant) {
    if (tenant->size() > kNameBytesMax) {
      problems.push_back({{"hbm.lend_tenants"},
                          "\"" + *tenant + "\" is no name of a tenant: at most " +
                              std::to_string(kNameBytesMax) + " bytes"});
    } else if (std::find(tenants.begin(), tenant, *tenant) != tenant) {
      problems.push_back({{"hbm.lend_tenants"}, "names tenant " + *tenant + " twice"});
    }
  }
}

void CheckHbm(const DaemonConfig& config, Problems& problems) {
  const HbmConfig& hbm = config.hbm;
  if (hbm.direct != "auto" && hbm.direct != "off") {
    problems.push_back(
        {{"hbm.direct"}, "is \"" + hbm.direct + "\"; there are \"auto\" and \"off\""});
  }
  CheckHbmLending(config, problems);
  if (!hbm.enabled()) {
    if (hbm.direct != HbmConfig().direct) {
      problems.push_back(
          {{"hbm.direct", "hbm.gpus"}, "without hbm.gpus there is no HBM tier: name the GPUs"});
    }
    if (hbm.gpu_capacity_bytes != HbmConfig().gpu_capacity_bytes) {
      problems.push_back({{"hbm.gpu_capacity", "hbm.gpus"},
                          "without hbm.gpus there is no HBM tier: name the GPUs"});
    }
    return;
  }
  for (auto gpu = hbm.gpus.begin(); gpu != hbm.gpus.end(); ++gpu) {
    const bool number = !gpu->empty() && gpu->size() <= 3 &&
                        gpu->find_first_not_of("0123456789") == std::string::npos &&
                        (gpu->front() != '0' || gpu->size() == 1);  // one text for a number
    if (!number) {
      problems.push_back({{"hbm.gpus"}, "\"" + *gpu + "\" is not the number of a GPU"});
    } else if (std::find(hbm.gpus.begin(), gpu, *gpu) != gpu) {
      problems.push_back({{"hbm.gpus"}, "names GPU " + *gpu + " twice"});
    }
  }
  constexpr std::uint64_t kPoolBytesMin = 2ULL << 20;  // tiers/hbm/hbm_tier.h
  if (hbm.gpu_capacity_bytes < kPoolBytesMin * config.server.reactors) {
    problems.push_back({{"hbm.gpu_capacity", "server.reactors"},
                        FormatByteSize(hbm.gpu_capacity_bytes) + " is too little for " +
                            std::to_string(config.server.reactors) +
                            " reactors, which need 2 MiB each"});
  }
}

void CheckFolder(const std::string& key, const std::string& path, Problems& problems) {
  if (path.empty()) return;
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    problems.push_back({{key}, "\"" + path + "\" is a folder; name a file"});
    return;
  }
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty() || std::filesystem::is_directory(folder, error)) return;
  problems.push_back({{key}, "there is no folder \"" + folder.string() + "\"; make it first"});
}

}  // namespace

std::vector<ConfigProblem> FindContradictions(const DaemonConfig& config,
                                              std::uint64_t memory_bytes) {
  Problems problems;
  CheckAddresses(config, problems);
  CheckPorts(config, problems);
  CheckTimes(config.server, problems);
  CheckMemory(config, memory_bytes, problems);
  CheckNvme(config, problems);
  CheckHbm(config, problems);
  CheckFolder("server.port_file", config.server.port_file, problems);
  CheckFolder("log.file", config.log.file, problems);
  if (!config.log.file.empty() && config.log.file == config.server.port_file) {
    problems.push_back({{"log.file", "server.port_file"},
                        "both name \"" + config.log.file + "\": one would destroy the other"});
  }
  return problems;
}

}  // namespace terrace

// DaemonConfig: every setting of terraced, read from TOML, checked as a whole, then immutable.
//
// Pure but for the files that LoadConfig and CheckConfigFile read; any thread; no exceptions.
// tools/terraced/config/config_keys.cc describes each key once: name, unit, range, default, what it
// is for. The reader, `--print-default-config` and the test of docs/operations.md use that table.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/common/byte_size.h"
#include "tools/common/listen_address.h"
#include "tools/terraced/logs/log_level.h"

namespace terrace {

struct ServerConfig {
  ListenAddress listen{"127.0.0.1", 7420};  ///< reactor i listens on port + i (port 0: any)
  bool trusted_network = false;
  std::uint32_t reactors = 1;
  std::uint32_t clients_max = 1024;
  bool same_host = true;
  bool rdma = true;
  std::uint32_t heartbeat_ms = 500;
  std::uint32_t heartbeat_idle_ms = 1000;
  std::uint32_t client_timeout_ms = 2500;
  std::uint32_t spin_us = 0;
  bool io_uring = true;
  std::string port_file;  ///< empty: none
  friend bool operator==(const ServerConfig&, const ServerConfig&) = default;
};

struct DramConfig {
  std::uint64_t capacity_bytes = 1ULL << 30;  ///< of the daemon, over all reactors
  std::uint64_t extent_bytes = 1ULL << 30;
  bool huge_pages = true;
  std::uint32_t lend_percent = 50;  ///< of the capacity; 0: nothing is lent
  friend bool operator==(const DramConfig&, const DramConfig&) = default;
};

struct CacheConfig {
  std::uint32_t transfers_max = 64;  ///< per reactor
  std::uint32_t window_per_request = 4;
  std::uint32_t blocks_max = 0;    ///< of the daemon, over all reactors; 0: from the capacity
  std::string policy = "terrace";  ///< of eviction, by name
  std::uint64_t events_bytes = 16 << 20;  ///< per reactor; 0: none are kept
  friend bool operator==(const CacheConfig&, const CacheConfig&) = default;
};

struct NvmeConfig {
  std::string folder;                          ///< empty: no NVMe tier
  std::vector<std::string> files;              ///< empty: FOLDER/log-0
  ByteAmount capacity{false, 0, 10ULL << 30};  ///< over all files; percent: of where they lie
  std::uint64_t block_bytes_max = 4 << 20;
  double drive_writes_per_day = 0;           ///< of the capacity; 0: no limit
  std::uint64_t write_bytes_per_day = 0;     ///< 0: no limit
  std::string write = "everything";          ///< or "worth"
  std::uint32_t write_percent_of_puts = 40;  ///< with "worth": of the bytes put, most to be written
  std::uint32_t sync_ms = 1000;
  std::uint32_t write_share_percent = 20;
  std::uint64_t read_bytes_per_s = 0;  ///< of each device, over all reactors; 0: no limit
  std::uint32_t errors_max = 8;        ///< within a minute, then the device is offline
  std::uint32_t stuck_ms = 10'000;
  [[nodiscard]] bool enabled() const noexcept { return !folder.empty(); }
  friend bool operator==(const NvmeConfig&, const NvmeConfig&) = default;
};

struct HbmConfig {
  std::vector<std::string> gpus;                  ///< numbers as CUDA has them; empty: no HBM tier
  std::uint64_t gpu_capacity_bytes = 1ULL << 30;  ///< of each GPU, over all reactors
  std::string direct = "auto";                    ///< or "off"
  std::vector<std::string> lend_tenants;          ///< whose clients may map their copies' memory
  std::uint32_t lend_percent = 50;                ///< of the capacity of all GPUs
  [[nodiscard]] bool enabled() const noexcept { return !gpus.empty(); }
  friend bool operator==(const HbmConfig&, const HbmConfig&) = default;
};

struct LogConfig {
  LogLevel level = LogLevel::kInfo;
  std::string file;  ///< empty: standard error
  std::uint32_t rate_limit_per_s = 10;
  friend bool operator==(const LogConfig&, const LogConfig&) = default;
};

struct MetricsConfig {
  bool enabled = true;
  ListenAddress listen{"127.0.0.1", 7419};
  friend bool operator==(const MetricsConfig&, const MetricsConfig&) = default;
};

struct DaemonConfig {
  ServerConfig server;
  DramConfig dram;
  NvmeConfig nvme;
  HbmConfig hbm;
  CacheConfig cache;
  LogConfig log;
  MetricsConfig metrics;
  friend bool operator==(const DaemonConfig&, const DaemonConfig&) = default;
};

/// Memory that this process may use, bytes: the machine's, or the limit of its control group when
/// that is lower. "25%" in a configuration is a share of it.
[[nodiscard]] std::uint64_t MachineMemoryBytes();

/// Reads and checks a configuration. `file_name` is only shown. kInvalid: the message holds every
/// error, one a line, each "FILE:LINE: key.path: reason"; a text that is not TOML gives the one
/// error at which the parser stopped. `memory_bytes`: what percentages are taken of.
Result<DaemonConfig> ParseConfig(std::string_view text, std::string_view file_name,
                                 std::uint64_t memory_bytes);

/// ParseConfig of a file. kIo, with path and errno, when it cannot be read; files above 1 MiB are
/// refused.
Result<DaemonConfig> LoadConfig(const std::string& path);

/// What the daemon runs with when no --config is given: the embedded default, checked like a file
/// (a machine with less memory than the default capacity is an error that says so).
Result<DaemonConfig> LoadDefaultConfig();

/// `terraced --check-config FILE`: prints "FILE: ok" to `out`, or every error to `errors`; returns
/// the exit status, 0 or 1.
int CheckConfigFile(const std::string& path, std::ostream& out, std::ostream& errors);

/// `terraced --print-default-config`: TOML with every key, its meaning, unit and range, at its
/// default. ParseConfig of it gives DaemonConfig{}.
[[nodiscard]] std::string PrintDefaultConfig();

}  // namespace terrace

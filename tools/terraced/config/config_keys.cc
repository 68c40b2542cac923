#include "tools/terraced/config/config_keys.h"

#include <array>

#include "tools/common/byte_size.h"

namespace terrace {

namespace {

// The field that a key is stored in. A macro, because a pointer to a member of a member is not a
// constant that a table can hold.
#define TERRACE_FIELD(member) [](DaemonConfig& config) -> void* { return &config.member; }

constexpr std::uint64_t kMebibyte = 1ULL << 20;
constexpr std::uint64_t kGibibyte = 1ULL << 30;
constexpr std::uint64_t kNumberMax = 0xffffffff;

constexpr std::array<ConfigSection, 7> kSections = {{
    {"server", "Who may connect, and the threads that serve them."},
    {"dram", "The DRAM tier: memory that holds blocks."},
    {"nvme", "The NVMe tier: a log on files or raw devices, warm after a restart."},
    {"hbm", "The HBM tier: memory of GPUs that keeps copies of blocks that are used again."},
    {"cache", "The index, and how many transfers run at once."},
    {"log", "What is logged, and where."},
    {"metrics", "The HTTP port with /metrics (Prometheus), /healthz and /advice."},
}};

constexpr ConfigKey kKeys[] = {
    {"server", "listen", ConfigKind::kAddress, "HOST:PORT", "\"127.0.0.1:7420\"", 0, 0,
     "Numeric address and port that clients connect to. Reactor i listens on PORT + i; with port 0 "
     "the system picks every port (see port_file). Any address but loopback needs "
     "trusted_network.",
     TERRACE_FIELD(server.listen)},
    {"server", "trusted_network", ConfigKind::kFlag, "flag", "false", 0, 0,
     "Says that everybody who can reach the ports may read and write what the daemon stores, as "
     "any tenant: nothing is authenticated. Set it only where a firewall or a separate network "
     "keeps others away.",
     TERRACE_FIELD(server.trusted_network)},
    {"server", "reactors", ConfigKind::kNumber, "threads", "1", 1, 64,
     "Threads that serve blocks, each with its own share of index and DRAM and its own port. At "
     "most the number of cores is useful.",
     TERRACE_FIELD(server.reactors)},
    {"server", "clients_max", ConfigKind::kNumber, "clients", "1024", 1, 65536,
     "Clients connected at once; a client above it is refused and told to retry.",
     TERRACE_FIELD(server.clients_max)},
    {"server", "same_host", ConfigKind::kFlag, "flag", "true", 0, 0,
     "Talk to clients on this host over shared memory, lend them blocks, and copy straight between "
     "the daemon's memory and theirs (process_vm_readv and process_vm_writev) where the kernel "
     "permits it, tested at connect. Otherwise their bytes go over TCP.",
     TERRACE_FIELD(server.same_host)},
    {"server", "rdma", ConfigKind::kFlag, "flag", "true", 0, 0,
     "Offer RDMA to clients when this host has a network card for it.", TERRACE_FIELD(server.rdma)},
    {"server", "heartbeat_ms", ConfigKind::kNumber, "milliseconds", "500", 10, 60'000,
     "How often a client that waits for an answer shows that it lives.",
     TERRACE_FIELD(server.heartbeat_ms)},
    {"server", "heartbeat_idle_ms", ConfigKind::kNumber, "milliseconds", "1000", 10, 600'000,
     "How often a client that waits for nothing shows that it lives.",
     TERRACE_FIELD(server.heartbeat_idle_ms)},
    {"server", "client_timeout_ms", ConfigKind::kNumber, "milliseconds", "2500", 100, 3'600'000,
     "Silence after which a client is taken for dead. At least twice heartbeat_idle_ms and three "
     "times heartbeat_ms, so that one lost message ends nobody.",
     TERRACE_FIELD(server.client_timeout_ms)},
    {"server", "spin_us", ConfigKind::kNumber, "microseconds", "0", 0, 1'000'000,
     "How long a reactor polls before it sleeps. Above 0 answers come sooner and a core is busy; "
     "only on machines with cores to spare.",
     TERRACE_FIELD(server.spin_us)},
    {"server", "io_uring", ConfigKind::kFlag, "flag", "true", 0, 0,
     "Sleep in io_uring where the kernel has it; otherwise in epoll. `terracectl stat` says which "
     "runs.",
     TERRACE_FIELD(server.io_uring)},
    {"server", "port_file", ConfigKind::kText, "path", "\"\"", 0, 0,
     "File that the ports are written to once the daemon listens: the port of each reactor, one a "
     "line, reactor 0 first, then `metrics PORT`; removed at a clean stop. For port 0. Empty: "
     "none.",
     TERRACE_FIELD(server.port_file)},

    {"dram", "capacity", ConfigKind::kAmount, "bytes or percent of the machine's memory",
     "\"1GiB\"", 2 * kMebibyte, 64ULL << 40,
     "Memory for blocks, over all reactors, taken when the daemon starts. Bytes as a number, a "
     "size such as \"64GiB\" or \"500MB\", or a share of this machine's memory (of its control "
     "group's limit, if lower) such as \"25%\". At least 2 MiB for each reactor.",
     TERRACE_FIELD(dram.capacity_bytes)},
    {"dram", "extent", ConfigKind::kBytes, "bytes, a power of two", "\"1GiB\"", 2 * kMebibyte,
     kGibibyte,
     "Largest piece that one tenant owns at a time. A small arena uses smaller ones, so that each "
     "reactor has at least 16.",
     TERRACE_FIELD(dram.extent_bytes)},
    {"dram", "huge_pages", ConfigKind::kFlag, "flag", "true", 0, 0,
     "Ask the kernel for 2 MiB pages. It gives them to shared memory only with "
     "/sys/kernel/mm/transparent_hugepage/shmem_enabled at \"advise\" or \"always\"; "
     "`terracectl stat` shows the share achieved.",
     TERRACE_FIELD(dram.huge_pages)},
    {"dram", "lend_percent", ConfigKind::kNumber, "percent", "50", 0, 90,
     "Share of the capacity that clients of this host may hold lent at once (Client::Lend), one of "
     "them half of it; blocks that are lent cannot be evicted. 0: nothing is lent.",
     TERRACE_FIELD(dram.lend_percent)},

    {"nvme", "folder", ConfigKind::kText, "path", "\"\"", 0, 0,
     "Folder of the tier: its index and, unless files names others, its log (FOLDER/log-0). Made "
     "when missing. Empty: no NVMe tier.",
     TERRACE_FIELD(nvme.folder)},
    {"nvme", "files", ConfigKind::kTexts, "paths", "[]", 0, 0,
     "Files or raw block devices that the log lies on, written and read in parallel; one that "
     "fails takes only itself offline. Their order and number belong to the store. They must be "
     "empty, or this store's. Empty: FOLDER/log-0.",
     TERRACE_FIELD(nvme.files)},
    {"nvme", "capacity", ConfigKind::kShare, "bytes, or percent of the file systems or devices",
     "\"10GiB\"", 16 * kMebibyte, 1ULL << 60,
     "Size of the log, over all files, shared equally by them and preallocated when the store is "
     "made. An existing store keeps the size that it has.",
     TERRACE_FIELD(nvme.capacity)},
    {"nvme", "block_max", ConfigKind::kBytes, "bytes", "\"4MiB\"", 4096, 64 * kMebibyte,
     "Largest block that is written to NVMe; larger ones stay in DRAM. A segment of the log "
     "holds at least four.",
     TERRACE_FIELD(nvme.block_bytes_max)},
    {"nvme", "drive_writes_per_day", ConfigKind::kDecimal, "capacities a day", "0", 0, 1000,
     "Most bytes written to the devices in a day, as a multiple of the capacity, headers and "
     "moved blocks included; an hour's share may be written at once. Blocks above it stay in "
     "DRAM. 0: no limit.",
     TERRACE_FIELD(nvme.drive_writes_per_day)},
    {"nvme", "write_bytes_per_day", ConfigKind::kBytes, "bytes a day", "0", 0, 1ULL << 60,
     "The same in bytes; only one of the two may be set. 0: no limit.",
     TERRACE_FIELD(nvme.write_bytes_per_day)},
    {"nvme", "write", ConfigKind::kText, "name", "\"everything\"", 0, 0,
     "What is written: everything that is put, at once; or worth: what will most probably be read "
     "again, when it is its turn to leave DRAM and at a clean stop. Then kill -9 takes what "
     "was in DRAM alone. Blocks of which cache.policy knows nothing are written as with "
     "everything. DURABLE puts are written either way.",
     TERRACE_FIELD(nvme.write)},
    {"nvme", "write_percent_of_puts", ConfigKind::kNumber, "percent", "40", 1, 100,
     "With write = \"worth\": most bytes written in the long run, of the bytes put.",
     TERRACE_FIELD(nvme.write_percent_of_puts)},
    {"nvme", "sync_ms", ConfigKind::kNumber, "milliseconds", "1000", 10, 60'000,
     "How often the index is synced, and notes how far it knows the log: power loss may take the "
     "puts of that time, and bring back its removals; a start after a crash reads the headers of "
     "what was written since. Puts that ask for DURABLE do not wait for it.",
     TERRACE_FIELD(nvme.sync_ms)},
    {"nvme", "write_share_percent", ConfigKind::kNumber, "percent", "20", 1, 100,
     "Share of a device's time that writes may take while reads wait. At 100 nothing is held back.",
     TERRACE_FIELD(nvme.write_share_percent)},
    {"nvme", "read_bytes_per_s", ConfigKind::kBytes, "bytes a second", "0", 0, 1ULL << 40,
     "Most bytes of blocks read from each file or device in a second, for who shares a disk; each "
     "reactor has an equal part, of at least 1 MiB. Reads beyond it wait their turn, as on a disk "
     "of that bandwidth; one whose turn comes after the deadline of its request answers TIMEOUT at "
     "once. What a start reads does not count, nor what is read to be written again when a segment "
     "is reused. 0: no limit.",
     TERRACE_FIELD(nvme.read_bytes_per_s)},
    {"nvme", "errors_max", ConfigKind::kNumber, "errors", "8", 1, 1'000'000,
     "Failed operations of a device within a minute after which it is offline; it is tried again "
     "every 2 seconds.",
     TERRACE_FIELD(nvme.errors_max)},
    {"nvme", "stuck_ms", ConfigKind::kNumber, "milliseconds", "10000", 100, 600'000,
     "An operation under way for longer takes its device offline until it ends.",
     TERRACE_FIELD(nvme.stuck_ms)},

    {"hbm", "gpus", ConfigKind::kTexts, "numbers of GPUs", "[]", 0, 0,
     "GPUs whose memory is used, by CUDA's numbers, such as [\"0\", \"1\"]. Needs a build with "
     "CUDA. A GPU serves one daemon at a time. Empty: no HBM tier.",
     TERRACE_FIELD(hbm.gpus)},
    {"hbm", "gpu_capacity", ConfigKind::kBytes, "bytes", "\"1GiB\"", 2 * kMebibyte, 1ULL << 40,
     "Memory of each of these GPUs, over all reactors, taken when the daemon starts. At least 2 "
     "MiB for each reactor.",
     TERRACE_FIELD(hbm.gpu_capacity_bytes)},
    {"hbm", "direct", ConfigKind::kText, "name", "\"auto\"", 0, 0,
     "How blocks in these GPUs' memory reach clients over RDMA: \"auto\": the NIC reads them there "
     "where it can (GPUDirect RDMA); \"off\": through DRAM, for a driver that does it wrong.",
     TERRACE_FIELD(hbm.direct)},
    {"hbm", "lend_tenants", ConfigKind::kTexts, "names of tenants", "[]", 0, 0,
     "Tenants whose clients of this host may be lent their blocks where they lie in the memory of "
     "a GPU. Such a client can write what it maps: blocks of its tenant, and of no other. One that "
     "says it let go and keeps the mapping is held off from others' blocks by the GPU's driver "
     "alone. Empty: nobody; clients are lent DRAM alone.",
     TERRACE_FIELD(hbm.lend_tenants)},
    {"hbm", "lend_percent", ConfigKind::kNumber, "percent", "50", 1, 90,
     "Share of the GPUs' capacity that these clients may hold lent at once, one of them half of "
     "it; "
     "copies that are lent cannot be evicted.",
     TERRACE_FIELD(hbm.lend_percent)},

    {"cache", "transfers_max", ConfigKind::kNumber, "blocks", "64", 1, 65536,
     "Blocks in transfer at once on one reactor, over all its clients. The rest wait their turn.",
     TERRACE_FIELD(cache.transfers_max)},
    {"cache", "window_per_request", ConfigKind::kNumber, "blocks", "4", 1, 1024,
     "Blocks in transfer at once for one request; at most transfers_max. 4 reach full speed over "
     "TCP.",
     TERRACE_FIELD(cache.window_per_request)},
    {"cache", "blocks_max", ConfigKind::kNumber, "blocks", "0", 0, kNumberMax - 1,
     "Most blocks that the index has room for, over all reactors, at up to 96 bytes of memory "
     "each (127 with the policy s3fifo). 0: from the capacity.",
     TERRACE_FIELD(cache.blocks_max)},
    {"cache", "policy", ConfigKind::kText, "name", "\"terrace\"", 0, 0,
     "What leaves DRAM first: terrace, leaf-lru, lru, fifo, lfu, s3fifo or sieve "
     "(docs/benchmarking.md tells them apart). terrace learns from its traffic what comes back.",
     TERRACE_FIELD(cache.policy)},
    {"cache", "events", ConfigKind::kBytes, "bytes", "\"16MiB\"", 0, kGibibyte,
     "Memory of each reactor for what happened to its blocks, for readers of events; about 170 "
     "bytes an event with keys of 32 bytes, more with token ids. Taken as it fills. A reader that "
     "is "
     "further behind is told of the gap. At least 1 MiB, or 0: nothing is kept.",
     TERRACE_FIELD(cache.events_bytes)},

    {"log", "level", ConfigKind::kLevel, "name", "\"info\"", 0, 0,
     "Least grave lines that are logged.", TERRACE_FIELD(log.level)},
    {"log", "file", ConfigKind::kText, "path", "\"\"", 0, 0,
     "File that lines are appended to. Empty: standard error.", TERRACE_FIELD(log.file)},
    {"log", "rate_limit_per_s", ConfigKind::kNumber, "lines per second and place in the code", "10",
     1, 100'000,
     "Lines that one place in the code may log in a second; what it logs above that is counted "
     "and told once.",
     TERRACE_FIELD(log.rate_limit_per_s)},

    {"metrics", "enabled", ConfigKind::kFlag, "flag", "true", 0, 0, "Serve the port.",
     TERRACE_FIELD(metrics.enabled)},
    {"metrics", "listen", ConfigKind::kAddress, "HOST:PORT", "\"127.0.0.1:7419\"", 0, 0,
     "Numeric address and port; port 0: the system picks, and the log says which. Any address but "
     "loopback needs server.trusted_network.",
     TERRACE_FIELD(metrics.listen)},
};
#undef TERRACE_FIELD

}  // namespace

std::span<const ConfigKey> ConfigKeys() { return kKeys; }

std::span<const ConfigSection> ConfigSections() { return kSections; }

std::string ConfigRange(const ConfigKey& key) {
  switch (key.kind) {
    case ConfigKind::kFlag: return "true or false";
    case ConfigKind::kLevel: return "debug, info, warning or error";
    case ConfigKind::kAddress: return "numeric address with port 0 to 65535";
    case ConfigKind::kText: return "text";
    case ConfigKind::kTexts: return "texts";
    case ConfigKind::kDecimal:
    case ConfigKind::kNumber:
      return std::to_string(key.minimum) + " to " + std::to_string(key.maximum);
    case ConfigKind::kBytes:
    case ConfigKind::kShare:
    case ConfigKind::kAmount: break;
  }
  return FormatByteSize(key.minimum) + " to " + FormatByteSize(key.maximum);
}

}  // namespace terrace

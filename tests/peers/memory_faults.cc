// memory_faults: the n-th allocation of a daemon, or of a client, is refused, for n from 1 on until
// none is (docs/fault-model.md).
//
// Model. `operator new` of this program counts, where it is told to, and refuses one. For each n a
// daemon of its own (a shard of terraced) and a client run the same calls; one of them is armed.
//   F1. No call hangs: it ends with a status, or its process has ended.
//   F2. A process that ends, ends by itself (SIGABRT), saying that it is out of memory.
//   F3. One that goes on works as before: the same calls all succeed afterwards.
//   F4. No byte is wrong.
//   F5. A daemon with an NVMe tier, whose RocksDB allocates here too, may end or be killed at any
//       of them: the next start over its store serves as before.
// The other side goes on in any case.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <thread>

#include "base/clock.h"
#include "base/random.h"
#include "tests/common/daemon_process.h"
#include "tests/peers/peer_load.h"
#include "tools/terraced/nvme_store.h"
#include "tools/terraced/shard.h"

namespace {

/// Shared with the program that arms it.
struct Arming {
  std::atomic<std::int64_t> left;  ///< allocations until the one that is refused; 0: none
  std::atomic<std::uint32_t> refused;
  std::atomic<std::uint32_t> whom;  ///< Side
  std::atomic<std::uint32_t> port;  ///< of the daemon
};
Arming* arming = nullptr;
enum Side : std::uint32_t { kDaemon = 1, kClient = 2 };
Side own_side = kDaemon;

void* Allocate(std::size_t bytes, std::size_t alignment) {
  if (arming != nullptr && arming->whom.load(std::memory_order_relaxed) == own_side &&
      arming->left.load(std::memory_order_relaxed) > 0 && arming->left.fetch_sub(1) == 1) {
    arming->refused.store(1);
    return nullptr;
  }
  return alignment <= alignof(std::max_align_t)
             ? std::malloc(bytes)
             : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* AllocateOrThrow(std::size_t bytes, std::size_t alignment) {
  void* const memory = Allocate(std::max<std::size_t>(bytes, 1), alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return AllocateOrThrow(bytes, 1); }
void* operator new[](std::size_t bytes) { return AllocateOrThrow(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return AllocateOrThrow(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return AllocateOrThrow(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return Allocate(std::max<std::size_t>(bytes, 1), 1);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return Allocate(std::max<std::size_t>(bytes, 1), 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/,
                       std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}

namespace terrace::peers {
namespace {

using namespace std::chrono_literals;

Arming* MapArming(const std::string& file) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || ::ftruncate(fd, sizeof(Arming)) != 0) return nullptr;
  void* const memory = ::mmap(nullptr, sizeof(Arming), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<Arming*>(memory);
}

/// Every kind of call once.
void CallAll(PeerLoad& load) {
  load.Put(0, 0, 4, Ack::kCommitted);
  load.Get(0, 0, 4);
  load.Match(0);
  load.Release(0, load.Lend(0, 4));
  load.Remove(0, 0, 2);
  load.Put(0, 0, 4, Ack::kDurable);
  load.Get(0, 0, 4);
  load.Clear();
}

int RunDaemon(const std::string& file, const std::string& store) {
  Arming* const mapped = MapArming(file);
  DaemonConfig config;
  config.server.listen = {"127.0.0.1", 0};
  config.dram.capacity_bytes = 32 << 20;
  config.nvme.folder = store;
  config.nvme.capacity = {false, 0, 32 << 20};
  config.nvme.block_bytes_max = kBlockBytes;
  config.nvme.sync_ms = 20;
  NamespaceRegistry registry(1 << 20);
  SteadyClock clock;
  SystemRandom random;
  std::unique_ptr<NvmeStore> nvme;
  if (config.nvme.enabled()) {
    auto opened = NvmeStore::Open(config);
    if (!opened.ok() || !(*opened)->AdoptNamespaces(registry).ok()) return 3;
    nvme = std::move(opened).value();
  }
  auto shard = Shard::Create({.config = config,
                              .registry = registry,
                              .clock = clock,
                              .random = random,
                              .nvme = nvme.get()},
                             {});
  if (mapped == nullptr || !shard.ok()) return 3;
  (*shard)->SetShards({{.host = "127.0.0.1", .port = (*shard)->server().port()}}, 1);
  (*shard)->Start();
  arming = mapped;
  mapped->port.store((*shard)->server().port());
  for (;;) ::pause();
}

int RunClient(const std::string& file, bool tcp, std::int64_t n) {
  Arming* const mapped = MapArming(file);
  if (mapped == nullptr) return 3;
  auto load = PeerLoad::Connect({.address = "127.0.0.1:" + std::to_string(mapped->port.load()),
                                 .name = "armed",
                                 .tcp = tcp,
                                 .number = 1});
  if (!load.ok()) return 3;
  CallAll(**load);
  const std::uint64_t lost_before = (*load)->counts().lost;
  own_side = kClient;
  arming = mapped;
  mapped->whom.store(kClient);
  mapped->left.store(n);
  CallAll(**load);
  mapped->left.store(0);
  bool goes_on = false;
  // A connection that the refusal cost is noticed, and made again.
  for (int pass = 0; pass < 20 && !goes_on && lost_before == 0; ++pass) {
    std::this_thread::sleep_for(pass * 50ms);
    for (int i = 0; i < 2000 && !(*load)->client().Connected(); ++i)
      std::this_thread::sleep_for(10ms);
    const std::uint64_t lost = (*load)->counts().lost;
    CallAll(**load);
    goes_on = (*load)->counts().lost == lost;
  }
  std::printf("%s\n", (*load)->counts().last_loss.c_str());
  return (*load)->counts().wrong > 0 ? 1 : goes_on ? 0 : 4;
}

struct Tally {
  std::uint64_t runs = 0, statuses = 0, ended = 0, broken = 0, wrong = 0;
};

std::string TextOf(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

/// Of whom an allocation is refused.
struct Kind {
  const char* name;
  bool of_client;
  bool tcp;
  bool nvme;
};
constexpr Kind kKinds[] = {
    {.name = "daemon over shm", .of_client = false, .tcp = false, .nvme = false},
    {.name = "daemon over tcp", .of_client = false, .tcp = true, .nvme = false},
    {.name = "daemon with nvme", .of_client = false, .tcp = false, .nvme = true},
    {.name = "client over shm", .of_client = true, .tcp = false, .nvme = false},
    {.name = "client over tcp", .of_client = true, .tcp = true, .nvme = false},
};

/// One n. False: nothing was refused any more, or the run could not be made.
class Run {
 public:
  Run(const std::string& program, const std::string& data) : program_(program), data_(data) {}

  bool Once(const Kind& kind, std::int64_t n, Tally& tally) {
    store_ = kind.nvme ? data_ + "/store" : "";
    if (!StartDaemon()) return Fail(tally, "the daemon did not start");
    const bool fired =
        kind.of_client ? ArmClient(kind.tcp, n, tally) : ArmDaemon(kind.tcp, n, tally);
    ++tally.runs;
    KillDaemon();
    if (kind.nvme) StartAgain(n, tally);
    return fired;
  }

 private:
  void KillDaemon() {
    if (daemon_ > 0) ::kill(daemon_, SIGKILL);
    if (daemon_ > 0) Wait(daemon_, 10s);
  }
  /// F5.
  void StartAgain(std::int64_t n, Tally& tally) {
    const std::string at = "n=" + std::to_string(n) + ": ";
    if (!StartDaemon()) {
      Fail(tally, at + "the next start: " + TextOf(data_ + "/daemon.err"));
    } else if (auto load = Caller(false); !load.ok()) {
      Fail(tally, at + "the next start: " + load.status().ToString());
    } else {
      CallAll(**load);
      tally.wrong += (*load)->counts().wrong;
      if ((*load)->counts().lost > 0)
        Fail(tally, at + "the next start answers: " + (*load)->counts().last_loss);
    }
    KillDaemon();
    std::error_code error;
    std::filesystem::remove_all(store_, error);
  }
  Result<std::unique_ptr<PeerLoad>> Caller(bool tcp) {
    return PeerLoad::Connect({.address = "127.0.0.1:" + std::to_string(shared_->port.load()),
                              .name = "caller",
                              .tcp = tcp,
                              .number = 1});
  }
  bool Fail(Tally& tally, const std::string& what) {
    ++tally.broken;
    std::fprintf(stderr, "memory_faults: %s\n", what.c_str());
    return false;
  }
  bool StartDaemon() {
    file_ = data_ + "/arming";
    ::unlink(file_.c_str());
    ::unlink((data_ + "/daemon.err").c_str());
    shared_ = MapArming(file_);
    std::vector<std::string> command{program_, "--daemon", file_};
    if (!store_.empty()) command.insert(command.end(), {"--store", store_});
    std::error_code error;
    if (!store_.empty()) std::filesystem::create_directories(store_, error);
    daemon_ = crash::Spawn(command, data_ + "/daemon.err");
    for (int i = 0; i < 30'000 && shared_->port.load() == 0; ++i) {
      std::this_thread::sleep_for(1ms);
      if (Wait(daemon_, 0ms) != nullptr) return false;
    }
    return shared_->port.load() != 0;
  }
  /// Null: it has not ended in time.
  std::unique_ptr<crash::ProcessEnd> Wait(pid_t& process, std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    do {
      int status = 0;
      if (::waitpid(process, &status, WNOHANG) == process) {
        process = -1;
        return std::make_unique<crash::ProcessEnd>(crash::EndOf(status));
      }
      std::this_thread::sleep_for(1ms);
    } while (std::chrono::steady_clock::now() < deadline);
    return nullptr;
  }
  /// F2.
  bool EndedWell(const crash::ProcessEnd& end, const std::string& said) {
    return end.signal == SIGABRT && (said.find("out of memory") != std::string::npos ||
                                     said.find("bad_alloc") != std::string::npos);
  }

  bool ArmDaemon(bool tcp, std::int64_t n, Tally& tally) {
    auto load = Caller(tcp);
    if (!load.ok()) return Fail(tally, load.status().ToString());
    CallAll(**load);
    shared_->whom.store(kDaemon);
    shared_->left.store(n);
    CallAll(**load);
    shared_->left.store(0);
    const bool fired = shared_->refused.load() != 0;
    // It may take a moment to end, or to make a connection again that was lost for want of memory.
    std::unique_ptr<crash::ProcessEnd> end;
    bool goes_on = !fired;
    for (int pass = 0; pass < 20 && end == nullptr && (pass == 0 || !goes_on); ++pass) {
      end = Wait(daemon_, 50ms * (pass + 1));
      if (end != nullptr || !fired || !(*load)->client().Connected()) continue;
      const std::uint64_t lost = (*load)->counts().lost;
      CallAll(**load);
      goes_on = (*load)->counts().lost == lost;
    }
    const std::string at = "n=" + std::to_string(n) + ": ";
    if (end != nullptr) {
      ++tally.ended;
      const std::string said = TextOf(data_ + "/daemon.err");
      if (!EndedWell(*end, said)) {
        Fail(tally, at + "the daemon ended with " + end->ToString() + ": " + said);
      }
    } else if (!goes_on) {
      Fail(tally, at + "the daemon went on and answers: " + (*load)->counts().last_loss);
    } else if (fired) {
      ++tally.statuses;
    }
    tally.wrong += (*load)->counts().wrong;
    return fired;
  }

  bool ArmClient(bool tcp, std::int64_t n, Tally& tally) {
    std::vector<std::string> command{program_, "--client", file_, "--n", std::to_string(n)};
    if (tcp) command.emplace_back("--tcp");
    ::unlink((data_ + "/client.err").c_str());
    pid_t client = crash::Spawn(command, data_ + "/client.err");
    const auto end = Wait(client, 60s);
    const bool fired = shared_->refused.load() != 0;
    const std::string said = TextOf(data_ + "/client.err");
    if (end == nullptr) {
      ::kill(client, SIGKILL);
      Wait(client, 10s);
      Fail(tally, "n=" + std::to_string(n) + ": the client hangs");
    } else if (end->Clean()) {
      tally.statuses += fired ? 1 : 0;
    } else if (EndedWell(*end, said)) {
      ++tally.ended;
    } else {
      tally.wrong += end->signal == 0 && end->status == 1 ? 1 : 0;
      Fail(tally,
           "n=" + std::to_string(n) + ": the client ended with " + end->ToString() + ": " + said);
    }
    if (daemon_ > 0 && Wait(daemon_, 0ms) != nullptr) {
      Fail(tally, "n=" + std::to_string(n) + ": the daemon ended with its client");
    }
    return fired;
  }

  const std::string program_;
  const std::string data_;
  std::string file_;
  std::string store_;  ///< of NVMe; empty: none
  Arming* shared_ = nullptr;
  pid_t daemon_ = -1;
};

[[noreturn]] void SayOutOfMemory() {
  constexpr std::string_view kWords = "out of memory\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kWords.data(), kWords.size());
  std::abort();
}

int Sweep(const std::string& program, const std::string& data, std::int64_t step,
          const std::string& only) {
  bool good = true;
  for (const Kind& kind : kKinds) {
    if (!only.empty() && std::string_view(kind.name).find(only) == std::string_view::npos) continue;
    Tally tally;
    Run run(program, data);
    std::int64_t n = 1;
    while (run.Once(kind, n, tally) && tally.broken < 20) n += step;
    std::printf("%s: allocations=%lld runs=%llu went_on=%llu ended=%llu broken=%llu wrong=%llu\n",
                kind.name, static_cast<long long>(n), static_cast<unsigned long long>(tally.runs),
                static_cast<unsigned long long>(tally.statuses),
                static_cast<unsigned long long>(tally.ended),
                static_cast<unsigned long long>(tally.broken),
                static_cast<unsigned long long>(tally.wrong));
    std::fflush(stdout);
    good = good && tally.broken == 0 && tally.wrong == 0 && tally.runs > 1;
  }
  return good ? 0 : 1;
}

int Main(int argc, char** argv) {
  CLI::App app("memory_faults: refuses the n-th allocation of a daemon or a client");
  std::string daemon;
  std::string client;
  std::string store;
  std::string only;
  std::int64_t n = 0;
  std::int64_t step = 1;
  bool tcp = false;
  app.add_option("--daemon", daemon, "be the daemon, armed by this file");
  app.add_option("--store", store, "of a daemon: the folder of its NVMe tier");
  app.add_option("--only", only, "words of the kinds to run: daemon, client, shm, tcp, nvme");
  app.add_option("--client", client, "be the client, armed by this file");
  app.add_option("--n", n, "of a client: the allocation that is refused");
  app.add_flag("--tcp", tcp, "of a client: its link");
  app.add_option("--step", step, "from one n to the next (1)")->check(CLI::Range(1, 1 << 20));
  CLI11_PARSE(app, argc, argv);
  if (!daemon.empty() || !client.empty()) {
    std::set_terminate(SayOutOfMemory);
    return daemon.empty() ? RunClient(client, tcp, n) : RunDaemon(daemon, store);
  }
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  // Beside the program: a store needs O_DIRECT, which not every /tmp has.
  std::string data = program.parent_path() / "../memory-faults-XXXXXX";
  if (mkdtemp(data.data()) == nullptr) return 1;
  const int status = Sweep(program, data, step, only);
  std::filesystem::remove_all(data, error);
  return status;
}

}  // namespace
}  // namespace terrace::peers

int main(int argc, char** argv) { return terrace::peers::Main(argc, argv); }

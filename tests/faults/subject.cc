#include "tests/faults/subject.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "tests/common/block_content.h"

namespace terrace::faults {

namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr std::uint64_t kRegionBytes = 8 << 20;
constexpr auto kReadyMax = 60s;
constexpr auto kStopMax = 30s;
constexpr auto kPoll = 5ms;
constexpr int kPoison = 0x5a;

crash::BlockName NameOf(std::uint32_t chain, std::uint32_t position) {
  return {.store = 0xfa017, .space = 0, .chain = chain, .position = position};
}

}  // namespace

std::uint64_t CountOf(const Blocks& blocks, StatusCode status) {
  return static_cast<std::uint64_t>(std::ranges::count(blocks, status, &BlockResult::status));
}

std::uint64_t CountOf(const Blocks& blocks, NotDurable reason) {
  return static_cast<std::uint64_t>(std::ranges::count(blocks, reason, &BlockResult::not_durable));
}

std::uint64_t DurableIn(const Blocks& blocks) {
  return static_cast<std::uint64_t>(std::ranges::count(blocks, Ack::kDurable, &BlockResult::ack));
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Subject::Subject(const std::string& programs, const std::string& folder, Judge& judge)
    : folder_(folder), judge_(judge), daemon_(programs + "/terraced", folder) {}

std::string Subject::ConfigOf(const Settings& settings) const {
  std::ostringstream text;
  text << "[server]\nlisten = \"127.0.0.1:0\"\nreactors = " << settings.reactors
       << "\nport_file = \"" << folder_
       << "/ports\"\nio_uring = " << (settings.io_uring ? "true" : "false")
       << "\n[dram]\ncapacity = " << settings.dram << "\n[nvme]\nfolder = \"" << settings.folder
       << "\"\ncapacity = " << settings.capacity
       << "\nblock_max = \"64KiB\"\nsync_ms = " << settings.sync_ms
       << "\nerrors_max = " << settings.errors_max << "\nstuck_ms = " << settings.stuck_ms
       << "\nfiles = [";
  for (const std::string& file : settings.files) text << '"' << file << "\", ";
  text << "]\n[log]\nfile = \"" << folder_ << "/daemon.log\"\n[metrics]\nenabled = false\n";
  return text.str();
}

Status Subject::Start(const Settings& settings) {
  client_.reset();
  log_from_ = 0;
  log_from_ = Log().size();
  ::unlink((settings.folder + "/starts").c_str());  // crashes in a row are what this is about
  Status started = daemon_.StartWith(ConfigOf(settings), nullptr);
  if (!started.ok()) return started;
  if (daemon_.WaitUntilReady(kReadyMax) != crash::CrashDaemon::Ready::kReady) {
    return {StatusCode::kInternal, "the daemon did not start: " + Log()};
  }
  return Connect();
}

Status Subject::Connect() {
  ClientOptions options;
  options.address = daemon_.address();
  options.name = "device-faults";
  options.tenant = "device-faults";
  options.connect_timeout = kPatience;
  Result<std::unique_ptr<Client>> client = Client::Connect(options);
  if (!client.ok()) return client.status();
  client_ = std::move(client).value();
  const Result<RegionId> region = client_->AllocateRegion(kRegionBytes);
  if (!region.ok()) return region.status();
  region_ = *region;
  NamespaceDescriptor descriptor;
  descriptor.name = "faults";
  descriptor.model = "none/device-faults";
  descriptor.block_tokens = 16;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
  const Result<NamespaceId> space = client_->OpenNamespace(descriptor, In(kPatience));
  if (!space.ok()) return space.status();
  space_ = *space;
  return {};
}

void Subject::Refused(const Settings& settings, const std::vector<std::string>& words) {
  client_.reset();
  log_from_ = 0;
  log_from_ = Log().size();
  if (!judge_.Ran(daemon_.StartWith(ConfigOf(settings), nullptr))) return;
  const auto ready = daemon_.WaitUntilReady(kReadyMax);
  if (ready != crash::CrashDaemon::Ready::kEnded) {
    judge_.Report(Breach::kOther, "a start that must be refused was not");
    Kill();
    return;
  }
  const crash::ProcessEnd& end = daemon_.end();
  judge_.True(Breach::kOther, end.signal == 0 && end.status == 1,
              "a refused start ended with " + end.ToString());
  for (const std::string& word : words) {
    judge_.True(Breach::kOther, Log().find(word) != std::string::npos,
                "no '" + word + "' in: " + Log());
  }
}

void Subject::Stop() {
  client_.reset();
  if (!daemon_.running()) return;
  daemon_.Signal(SIGTERM);
  if (!daemon_.WaitForEnd(kStopMax)) {
    judge_.Report(Breach::kLate, "the daemon did not stop within 30 s");
    Kill();
  } else if (!daemon_.end().Clean()) {
    judge_.Report(Breach::kOther, "the daemon ended with " + daemon_.end().ToString());
  }
}

void Subject::Kill() {
  client_.reset();
  daemon_.Kill();
}

Chain Subject::ChainOf(std::uint32_t chain, std::uint32_t count) const {
  Chain keys;
  for (std::uint32_t position = 0; position < count; ++position) {
    (void)keys.Append(crash::KeyOf(chain, position));  // short, and far from full
  }
  return keys;
}

std::vector<BlockBuffer> Subject::Buffers(std::uint32_t count) const {
  std::vector<BlockBuffer> buffers;
  for (std::uint32_t index = 0; index < count; ++index) {
    buffers.push_back({.position = index, .region = region_, .offset = index * kBlockBytes});
  }
  return buffers;
}

/// A call that failed as a whole has that status for each of its blocks.
Blocks Subject::Judged(const char* what, const Result<Blocks>& result, std::uint32_t count,
                       SteadyClock::time_point began, std::chrono::milliseconds limit) {
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - began);
  judge_.True(Breach::kLate, took <= limit + kBeyondDeadline,
              std::string(what) + " with a deadline of " + std::to_string(limit.count()) +
                  " ms took " + std::to_string(took.count()) + " ms");
  if (!daemon_.running() || daemon_.WaitForEnd(0ms)) {
    judge_.Report(Breach::kOther, "the daemon ended with " + daemon_.end().ToString());
  }
  if (result.ok()) return *result;
  if (result.code() != StatusCode::kTimeout) {
    judge_.Report(Breach::kOther, std::string(what) + ": " + result.status().message());
  }
  return Blocks(count, BlockResult{.status = result.code()});
}

Blocks Subject::Put(std::uint32_t chain, std::uint32_t count, bool durable,
                    std::chrono::milliseconds limit) {
  const std::uint32_t version = ++version_;
  const std::span<std::byte> memory = client_->RegionMemory(region_);
  for (std::uint32_t index = 0; index < count; ++index) {
    crash::FillBlock(NameOf(chain, index), version,
                     memory.subspan(index * kBlockBytes, kBlockBytes));
  }
  const auto began = SteadyClock::now();
  const Result<Blocks> result = client_->Put(space_, ChainOf(chain, count), Buffers(count), {},
                                             In(limit), durable ? Ack::kDurable : Ack::kCommitted);
  Blocks blocks = Judged("a put", result, count, began, limit);
  for (std::uint32_t index = 0; index < count; ++index) {
    if (blocks[index].status != StatusCode::kOk) continue;
    stored_[{chain, index}] = version;
    ++judge_.blocks_put;
  }
  return blocks;
}

Blocks Subject::Get(std::uint32_t chain, std::uint32_t count, std::chrono::milliseconds limit) {
  const std::span<std::byte> memory = client_->RegionMemory(region_);
  std::memset(memory.data(), kPoison, count * kBlockBytes);
  const auto began = SteadyClock::now();
  const Result<Blocks> result =
      client_->Get(space_, ChainOf(chain, count), Buffers(count), {}, In(limit));
  Blocks blocks = Judged("a get", result, count, began, limit);
  for (std::uint32_t index = 0; index < count; ++index) {
    if (blocks[index].status != StatusCode::kOk) continue;
    const Result<std::uint32_t> version =
        crash::VersionOf(NameOf(chain, index), memory.subspan(index * kBlockBytes, kBlockBytes));
    const auto right = stored_.find({chain, index});
    if (!version.ok()) {
      judge_.Report(Breach::kWrong, version.status().message());
    } else if (right == stored_.end() || right->second != *version) {
      judge_.Report(Breach::kWrong, "a get answered version " + std::to_string(*version));
    } else {
      ++judge_.blocks_right;
    }
  }
  return blocks;
}

Blocks Subject::Remove(std::uint32_t chain, std::uint32_t count) {
  const auto began = SteadyClock::now();
  const Result<Blocks> result =
      client_->Remove(space_, ChainOf(chain, count), 0, count, {}, In(kPatience));
  return Judged("a remove", result, count, began, kPatience);
}

void Subject::MustHave(std::uint32_t chain, std::uint32_t count) {
  const std::uint64_t right = CountOf(Get(chain, count), StatusCode::kOk);
  judge_.True(Breach::kLost, right == count,
              std::to_string(count - right) + " of " + std::to_string(count) + " blocks of chain " +
                  std::to_string(chain) + " are not there");
}

void Subject::MustMakeDurable(std::uint32_t chain, std::uint32_t count) {
  const Blocks blocks = Put(chain, count, true);
  judge_.True(
      Breach::kOther, DurableIn(blocks) == count,
      std::to_string(DurableIn(blocks)) + " of " + std::to_string(count) +
          " blocks became durable; first: " + std::string(StatusCodeName(blocks.front().status)) +
          " " + std::string(NotDurableName(blocks.front().not_durable)));
}

double Subject::Metric(std::string_view name, std::string_view label) {
  const Result<std::vector<Sample>> samples = client_->Stat(In(kPatience));
  if (!samples.ok()) {
    judge_.Report(Breach::kOther, "stat: " + samples.status().message());
    return -1;
  }
  double sum = 0;
  bool found = false;
  for (const Sample& sample : *samples) {
    if (sample.name != name || sample.labels.find(label) == std::string::npos) continue;
    sum += sample.value;
    found = true;
  }
  // A counter that is not there would look like one that is 0.
  if (!found) {
    judge_.Report(Breach::kNotRun, "no metric " + std::string(name) + " " + std::string(label));
  }
  return sum;
}

void Subject::Expect(std::string_view name, std::string_view label, double wanted) {
  judge_.Equal(std::string(name) + " " + std::string(label), Metric(name, label), wanted);
}

void Subject::Await(std::string_view name, std::string_view label, double wanted) {
  const auto deadline = SteadyClock::now() + kPatience;
  double found = Metric(name, label);
  while (found != wanted && SteadyClock::now() < deadline) {
    std::this_thread::sleep_for(kPoll);
    found = Metric(name, label);
  }
  judge_.True(Breach::kLate, found == wanted,
              std::string(name) + " " + std::string(label) + " stays at " + std::to_string(found) +
                  ", and must become " + std::to_string(wanted));
}

double Subject::LooseFrames() {
  return Metric("terrace_tier_frames", "tier=\"dram\"") -
         Metric("terrace_tier_blocks", "tier=\"dram\"");
}

void Subject::ExpectNoLooseFrame() {
  const auto deadline = SteadyClock::now() + kPatience;
  double loose = LooseFrames();
  while (loose != 0 && SteadyClock::now() < deadline) {
    std::this_thread::sleep_for(kPoll);
    loose = LooseFrames();
  }
  judge_.Equal("frames that belong to no block", loose, 0);
  Expect("terrace_quarantined_frames", "", 0);
}

std::string Subject::Log() const {
  const std::string text = TextOf(folder_ + "/daemon.log");
  return text.substr(std::min(log_from_, text.size()));
}

std::uint64_t Subject::Lines(std::string_view words) const {
  std::istringstream log(Log());
  std::uint64_t count = 0;
  for (std::string line; std::getline(log, line);) {
    if (line.find(words) != std::string::npos) ++count;
  }
  return count;
}

void Subject::AwaitLines(std::string_view words, std::uint64_t count) {
  const auto deadline = SteadyClock::now() + kPatience;
  while (Lines(words) < count && SteadyClock::now() < deadline) std::this_thread::sleep_for(kPoll);
  judge_.Equal("lines with '" + std::string(words) + "'", static_cast<double>(Lines(words)),
               static_cast<double>(count));
}

}  // namespace terrace::faults

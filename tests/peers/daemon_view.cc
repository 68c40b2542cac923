#include "tests/peers/daemon_view.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>

namespace terrace::peers {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

double Sum(const std::vector<Sample>& samples, std::string_view name) {
  double sum = 0;
  for (const Sample& sample : samples) {
    if (sample.name == name) sum += sample.value;
  }
  return sum;
}

double DescriptorsOf(pid_t process) {
  double count = 0;
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::directory_iterator("/proc/" + std::to_string(process) + "/fd", error)) {
    const std::string target = fs::read_symlink(entry.path(), error).string();
    // "socket:[1]", "anon_inode:[eventfd]", and the memory that is shared with one client.
    if (!target.starts_with("/") || target.starts_with("/memfd:terrace:link")) ++count;
  }
  return count;
}

double ThreadsOf(pid_t process) {
  double count = 0;
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::directory_iterator("/proc/" + std::to_string(process) + "/task", error)) {
    std::string name;
    std::ifstream(entry.path() / "comm") >> name;
    if (!name.starts_with("rocksdb") && !name.starts_with("iou-wrk")) ++count;
  }
  return count;
}

}  // namespace

std::string Traces::ToString() const {
  const auto text = [](double value) { return std::to_string(static_cast<long long>(value)); };
  return text(connections) + " connections, " + text(quarantined) + " frames in quarantine, " +
         text(lent) + " blocks lent, " + text(frames) + " frames, " + text(descriptors) +
         " descriptors, " + text(threads) + " threads, " + text(unwritten) + " bytes unwritten";
}

Result<Traces> DaemonView::Look() const {
  const Result<std::vector<Sample>> samples = client_.Stat(In(20s));
  if (!samples.ok()) return samples.status();
  // No sample at all would look like a daemon that keeps nothing.
  if (Sum(*samples, "terrace_tier_capacity_bytes") <= 0) {
    return Status::Internal("the daemon's counters do not name its DRAM");
  }
  return Traces{.connections = Sum(*samples, "terrace_client_connections"),
                .quarantined = Sum(*samples, "terrace_quarantined_frames"),
                .lent = Sum(*samples, "terrace_lent_blocks"),
                .frames = Sum(*samples, "terrace_tier_frames"),
                .descriptors = DescriptorsOf(daemon_),
                .threads = ThreadsOf(daemon_),
                .unwritten = Sum(*samples, "terrace_nvme_write_queue_bytes"),
                .extents_moved = Sum(*samples, "terrace_tier_extents_replaced_total")};
}

std::string DaemonView::in_the_way() const {
  constexpr std::size_t kFirst = 4;
  constexpr std::size_t kLast = 8;
  std::string lines;
  for (std::size_t i = 0; i < in_the_way_.size(); ++i) {
    if (i < kFirst || i + kLast >= in_the_way_.size()) lines += "\n  " + in_the_way_[i];
  }
  return lines;
}

Result<std::chrono::nanoseconds> DaemonView::Await(
    const std::function<bool(const Traces&)>& reached, std::chrono::milliseconds limit) const {
  const auto began = std::chrono::steady_clock::now();
  const auto paused_before = pauses_.paused();
  in_the_way_.clear();
  Traces last;
  for (;;) {
    const auto paused = pauses_.paused();
    const Result<Traces> traces = Look();
    // A call whose deadline passed while nothing ran says nothing; the watch notes a pause late.
    std::this_thread::sleep_for(5ms);
    if (!traces.ok() && pauses_.paused() != paused) continue;
    if (!traces.ok()) return traces.status();
    const auto took = std::chrono::steady_clock::now() - began;
    if (reached(*traces)) return std::chrono::nanoseconds(took);
    if (in_the_way_.empty() || *traces != last) {
      const double seconds = std::chrono::duration<double>(took).count();
      in_the_way_.push_back("after " + std::to_string(seconds) + " s: " + traces->ToString());
      last = *traces;
    }
    if (took - (pauses_.paused() - paused_before) > limit)
      return Status(StatusCode::kTimeout, traces->ToString());
  }
}

}  // namespace terrace::peers

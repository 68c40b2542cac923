#include "tests/peers/campaign.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/crash_point.h"

namespace terrace::peers {

namespace {

using namespace std::chrono_literals;

constexpr auto kReadyMax = 60s;
/// A victim comes to its point within a second on a machine that does nothing else.
constexpr auto kPointMax = 60s;
constexpr auto kGoOnFor = 1500ms;
constexpr std::uint32_t kVictim = 1000;

bool OfTcpOnly(std::string_view point) {
  return point == "client.plane_asked" || point == "client.data_came" ||
         point == "client.data_sent";
}
bool OfShmOnly(std::string_view point) {
  return point.starts_with("client.extent") || point.starts_with("victim.lent");
}
/// Comes once in a connection's life, or nearly.
bool OfOneTime(std::string_view point) {
  return !(point == "client.message_half" || point == "client.request_sent" ||
           point == "client.data_came" || point == "client.data_sent" ||
           point == "client.reply_came");
}

/// The number behind a line's first word; 0 when there is no such line.
std::uint64_t NumberAfter(const std::string& text, const std::string& word) {
  const std::size_t at = ("\n" + text).find("\n" + word);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + word.size(), nullptr, 10);
}

std::string ConfigOf(const crash::DaemonProcess& daemon) {
  return "[server]\nlisten = \"127.0.0.1:0\"\nport_file = \"" + daemon.PortFile() +
         "\"\n[dram]\ncapacity = \"64MiB\"\n[nvme]\nfolder = \"" + daemon.folder() +
         "/store\"\ncapacity = \"256MiB\"\nblock_max = \"256KiB\"\n[log]\nfile = \"" +
         daemon.folder() + "/daemon.log\"\n[metrics]\nenabled = false\n";
}

}  // namespace

struct Campaign::Round {
  std::string point;  ///< empty: at any time
  bool tcp = false;
  bool stop = false;
  std::uint64_t seed = 0;
  [[nodiscard]] std::string ToString() const {
    return (point.empty() ? "at any time" : point) + (tcp ? " over tcp" : " over shm") +
           (stop ? ", stopped" : ", killed");
  }
};

Campaign::Campaign(CampaignOptions options)
    : options_(std::move(options)),
      random_(options_.seed),
      daemon_(options_.programs + "/terraced", options_.data) {}

Campaign::~Campaign() = default;

Status Campaign::Begin() {
  if (Status status = daemon_.Start(ConfigOf(daemon_)); !status.ok()) return status;
  if (daemon_.WaitUntilReady(kReadyMax) != crash::DaemonProcess::Ready::kReady) {
    return Status::Internal("the daemon did not start, see daemon.log and daemon.err");
  }
  PeerLoad::Options options{.address = daemon_.address(),
                            .name = "observer",
                            .store = options_.seed,
                            .number = 0,
                            .pieces = true};
  const auto connect = [&](std::unique_ptr<PeerLoad>& load) {
    auto made = PeerLoad::Connect(options);
    if (!made.ok()) return made.status();
    load = std::move(made).value();
    return Status::Ok();
  };
  if (Status status = connect(observer_); !status.ok()) return status;
  view_ = std::make_unique<DaemonView>(observer_->client(), daemon_.pid(), pauses_);
  options.tenant = "hungry";
  options.number = 3;
  if (Status status = connect(hungry_); !status.ok()) return status;
  options.tenant = "peers";
  for (const bool tcp : {false, true}) {
    std::unique_ptr<PeerLoad> load;
    options.tcp = tcp;
    options.number = tcp ? 2 : 1;
    options.name = "bystander";
    if (Status status = connect(load); !status.ok()) return status;
    bystanders_.push_back(std::make_unique<Bystander>(std::move(load), random_.Next()));
  }
  // Threads and memories that come with the first of everything are not a victim's traces.
  if (Status status = MoveAnExtent(); !status.ok()) return status;
  Child first;
  if (Status status = first.Start(
          options_.programs + "/peer_faults",
          {.address = daemon_.address(), .tcp = true, .store = options_.seed, .number = kVictim},
          options_.data + "/victim.out");
      !status.ok()) {
    return status;
  }
  if (!first.Await("ready", kReadyMax))
    return Status::Internal("the first client: " + first.Output());
  first.TellToEnd();
  if (first.Wait(kReadyMax) != Child::State::kEnded || !first.end().Clean()) {
    return Status::Internal("the first client did not end well: " + first.Output());
  }
  std::this_thread::sleep_for(3s);  // listeners that nobody needs any more close within 2 s
  const Result<Traces> traces = view_->Look();
  if (!traces.ok()) return traces.status();
  baseline_ = *traces;
  return {};
}

Status Campaign::MoveAnExtent() {
  constexpr std::uint32_t kPutsMax = 200;
  for (std::uint32_t i = 0; i < kPutsMax; ++i) {
    PeerLoad& load = i % (2 * kManyChains) < kManyChains ? *observer_ : *hungry_;
    load.Put(i % kManyChains, 0, kChainBlocks, Ack::kCommitted);
    const Result<Traces> traces = view_->Look();
    if (!traces.ok()) return traces.status();
    if (traces->extents_moved > 0) return {};
  }
  return Status::Internal("no extent went from one tenant to another");
}

Campaign::Round Campaign::Draw() {
  if (bag_.empty()) {
    std::vector<std::string> points{""};
    for (const CrashPointInfo& info : ClientCrashPoints()) points.emplace_back(info.name);
    for (const char* const point : kVictimPoints) points.emplace_back(point);
    for (const std::string& point : points) {
      for (const bool tcp : {false, true}) {
        if (!options_.only.empty() && point != options_.only) continue;
        if ((tcp && OfShmOnly(point)) || (!tcp && OfTcpOnly(point))) continue;
        if (options_.kill) bag_.push_back({.point = point, .tcp = tcp, .stop = false});
        if (options_.stop) bag_.push_back({.point = point, .tcp = tcp, .stop = true});
      }
    }
    for (std::size_t i = bag_.size(); i > 1; --i) std::swap(bag_[i - 1], bag_[random_.Below(i)]);
  }
  Round round = std::move(bag_.back());
  bag_.pop_back();
  round.seed = random_.Next();
  return round;
}

const Totals& Campaign::Run(const std::function<void(std::uint32_t)>& progress) {
  Status status = Begin();
  for (std::uint32_t i = 0; status.ok() && i < options_.rounds; ++i) {
    const Round round = Draw();
    status = RunRound(round);
    if (!status.ok()) {
      std::fprintf(stderr, "seed %llu, round %u (%s): %s\n",
                   static_cast<unsigned long long>(options_.seed), i, round.ToString().c_str(),
                   status.ToString().c_str());
      break;
    }
    ++totals_.rounds;
    progress(i + 1);
  }
  if (!status.ok()) {
    ++totals_.failed;
    std::fprintf(stderr, "peer_faults: %s\n", status.ToString().c_str());
  }
  if (daemon_.WaitForEnd(0ms)) {
    ++totals_.failed;
    std::fprintf(stderr, "the daemon ended: %s\n", daemon_.end().ToString().c_str());
  }
  JudgeBystanders();
  bystanders_.clear();
  hungry_.reset();
  observer_.reset();
  return totals_;
}

Status Campaign::Strike(const Round& round, Child& child) {
  if (round.point.empty()) {
    if (!child.Await("ready", kPointMax)) return Status::Internal("no victim: " + child.Output());
    std::this_thread::sleep_for(std::chrono::microseconds(random_.Below(60'000)));
    child.Signal(round.stop ? SIGSTOP : SIGKILL);
  } else if (round.point.starts_with("client.clos")) {
    if (!child.Await("ready", kPointMax)) return Status::Internal("no victim: " + child.Output());
    child.TellToEnd();
  }
  const auto deadline = std::chrono::steady_clock::now() + kPointMax;
  Child::State state = Child::State::kRuns;
  while ((state = child.Wait(2ms)) == Child::State::kRuns &&
         std::chrono::steady_clock::now() < deadline) {
    if (round.point == "client.extent_recalled") {
      // More than the arena beside what the victim wants of it: extents go back and forth.
      hungry_->Put(static_cast<std::uint32_t>(random_.Below(kManyChains)), 0, kChainBlocks,
                   Ack::kCommitted);
    }
  }
  const bool reached = round.stop ? state == Child::State::kStopped
                                  : state == Child::State::kEnded && child.end().Killed();
  if (reached) return {};
  return Status::Internal("the victim did not come to its point: " +
                          (state == Child::State::kEnded ? child.end().ToString() : "it runs") +
                          ", it said: " + child.Output());
}

Status Campaign::AwaitBaseline(const std::string& who) {
  const auto paused = pauses_.paused();
  const auto took = view_->Await(
      [this](const Traces& traces) {
        return traces.connections == baseline_.connections && traces.quarantined == 0 &&
               traces.lent == 0 && traces.descriptors <= baseline_.descriptors &&
               traces.threads <= baseline_.threads;
      },
      kSlack);
  if (took.ok()) {
    NoteTime(*took, paused, who);
    return {};
  }
  if (took.code() != StatusCode::kTimeout) return took.status();
  ++totals_.leaked;
  std::fprintf(stderr, "%s left traces: %s; before it came: %s\n", who.c_str(),
               took.status().message().c_str(), baseline_.ToString().c_str());
  return {};
}

void Campaign::NoteTime(std::chrono::nanoseconds took, std::chrono::nanoseconds paused_before,
                        const std::string& what) {
  if (pauses_.paused() != paused_before) {
    ++totals_.paused;
    return;
  }
  const double seconds = std::chrono::duration<double>(took).count();
  totals_.slowest_s = std::max(totals_.slowest_s, seconds);
  if (took > kPromised)
    std::fprintf(stderr, "%s: %.2f s, with%s\n", what.c_str(), seconds,
                 view_->in_the_way().c_str());
}

Status Campaign::CheckPins(const std::string& who) {
  for (const auto& bystander : bystanders_) bystander->Pause();
  for (const std::uint32_t number : {0U, 1U, 2U, kVictim}) {
    const auto cleared =
        observer_->client().ClearNamespace("peer-" + std::to_string(number), In(20s));
    if (!cleared.ok() && cleared.code() != StatusCode::kMiss) return cleared.status();
  }
  hungry_->Clear();
  const auto paused = pauses_.paused();
  const auto took = view_->Await([](const Traces& traces) { return traces.frames == 0; }, kSlack);
  for (const auto& bystander : bystanders_) bystander->Resume();
  if (took.ok()) {
    NoteTime(*took, paused, "cleared blocks, after " + who);
    return {};
  }
  if (took.code() != StatusCode::kTimeout) return took.status();
  ++totals_.leaked;
  std::fprintf(stderr, "frames are pinned though every block was cleared: %s\n",
               took.status().message().c_str());
  return {};
}

Status Campaign::GoOn(Child& child) {
  child.Signal(SIGCONT);
  if (child.Wait(kGoOnFor) == Child::State::kRuns) child.TellToEnd();
  if (child.Wait(kSlack) != Child::State::kEnded) {
    return Status::Internal("the victim that was woken hangs: " + child.Output());
  }
  const std::string said = child.Output();
  const std::uint64_t lent = NumberAfter(said, "lent ");
  const std::uint64_t expired = NumberAfter(said, "told-expired ");
  totals_.expired += expired;
  if (lent != expired) {
    ++totals_.wrong;
    std::fprintf(stderr, "the victim that was woken held %llu lent blocks, %llu had expired: %s\n",
                 static_cast<unsigned long long>(lent), static_cast<unsigned long long>(expired),
                 said.c_str());
  }
  if (said.find("wrong ") != std::string::npos) {
    ++totals_.wrong;
    std::fprintf(stderr, "the victim that was woken: %s\n", said.c_str());
  } else if (!child.end().Clean()) {
    // One that was stopped while it connected for the first time may have given up.
    if (child.end().signal != 0 || child.end().status != 3) {
      return Status::Internal("the victim that was woken ended with " + child.end().ToString() +
                              ": " + said);
    }
  }
  return {};
}

Status Campaign::RunRound(const Round& round) {
  VictimOptions victim{.address = daemon_.address(),
                       .tcp = round.tcp,
                       .seed = round.seed,
                       .store = options_.seed,
                       .number = kVictim,
                       .point = round.point,
                       .signal = round.stop ? SIGSTOP : SIGKILL};
  if (round.point.starts_with("client.")) {
    victim.point += ":" + std::to_string(OfOneTime(round.point) ? 1 : 1 + random_.Below(40));
  }
  Child child;
  if (Status status =
          child.Start(options_.programs + "/peer_faults", victim, options_.data + "/victim.out");
      !status.ok()) {
    return status;
  }
  if (Status status = Strike(round, child); !status.ok()) return status;
  totals_.points.insert(round.ToString());
  if (Status status = AwaitBaseline(round.ToString()); !status.ok()) return status;
  if (round.stop) {
    if (Status status = GoOn(child); !status.ok()) return status;
    if (Status status = AwaitBaseline(round.ToString() + " and woken"); !status.ok()) return status;
  }
  if (Status status = CheckPins(round.ToString()); !status.ok()) return status;
  if (daemon_.WaitForEnd(0ms)) return Status::Internal("the daemon is gone");
  return {};
}

void Campaign::JudgeBystanders() {
  for (const auto& bystander : bystanders_) {
    bystander->Pause();
    const PeerLoad::Counts& counts = bystander->counts();
    totals_.retries += counts.retry;
    totals_.wrong += counts.wrong;
    totals_.harmed += counts.lost + bystander->reconnects();
    totals_.slowest_call_s =
        std::max(totals_.slowest_call_s, std::chrono::duration<double>(counts.slowest).count());
    if (counts.good == 0 && totals_.rounds > 0) {
      ++totals_.failed;
      std::fprintf(stderr, "a bystander did nothing: this proves nothing\n");
    }
    if (counts.wrong > 0) std::fprintf(stderr, "bystander: %s\n", counts.first_wrong.c_str());
    if (counts.lost > 0) {
      std::fprintf(stderr, "bystander: %llu calls failed, the last: %s\n",
                   static_cast<unsigned long long>(counts.lost), counts.last_loss.c_str());
    }
  }
}

}  // namespace terrace::peers

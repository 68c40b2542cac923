#include "tests/peers/partition.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "tests/peers/bystander.h"
#include "tests/peers/child.h"
#include "tests/peers/daemon_view.h"
#include "tests/peers/net_room.h"

namespace terrace::peers {

namespace {

using namespace std::chrono_literals;

constexpr auto kReadyMax = 60s;
/// Ten times the 3 s of N1 and N2.
constexpr auto kFoundMax = 30s;
constexpr auto kHealedMax = 60s;

double Seconds(Nanos nanos) { return static_cast<double>(nanos) / static_cast<double>(kSecond); }

/// The first line "WORD TIME ..." whose time is not before `since`; 0: there is none.
Nanos TimeOf(const std::string& output, const std::string& word, Nanos since) {
  std::istringstream lines(output);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string first;
    Nanos time = 0;
    if (words >> first >> time && first == word && time >= since) return time;
  }
  return 0;
}

class PartitionCampaign {
 public:
  explicit PartitionCampaign(const PartitionOptions& options)
      : options_(options),
        random_(options.seed),
        daemon_(options.programs + "/terraced", options.data) {}
  PartitionTotals Run();

 private:
  Status Begin();
  Status RunRound(Cut cut);
  Status AwaitFound(Nanos cut_at, const std::string& what);
  Status AwaitHealed(Nanos healed_at, const std::string& what);
  Result<Nanos> AwaitWord(Child& victim, const std::string& word, Nanos since,
                          std::chrono::seconds limit);
  void Miss(const std::string& what) {
    ++totals_.missed;
    std::fprintf(stderr, "%s\n", what.c_str());
  }

  const PartitionOptions options_;
  SeededRandom random_;
  std::optional<NetRoom> room_;  // goes last
  crash::DaemonProcess daemon_;
  std::unique_ptr<PeerLoad> observer_;
  PauseWatch pauses_;
  std::unique_ptr<DaemonView> view_;
  std::unique_ptr<Bystander> bystander_;
  Child busy_;
  Child idle_;
  double baseline_connections_ = 0;
  PartitionTotals totals_;
};

Status PartitionCampaign::Begin() {
  auto room = NetRoom::Make();
  if (!room.ok()) return room.status();
  room_.emplace(std::move(room).value());
  const std::string config = "[server]\nlisten = \"" + std::string(NetRoom::kDaemonHost) +
                             ":0\"\ntrusted_network = true\nport_file = \"" + daemon_.PortFile() +
                             "\"\n[dram]\ncapacity = \"64MiB\"\n[log]\nfile = \"" +
                             daemon_.folder() + "/daemon.log\"\n[metrics]\nenabled = false\n";
  if (Status status = daemon_.Start(config, "", room_->OnDaemonSide()); !status.ok()) return status;
  if (daemon_.WaitUntilReady(kReadyMax) != crash::DaemonProcess::Ready::kReady) {
    return Status::Internal("the daemon did not start, see daemon.log and daemon.err");
  }
  std::string port;
  std::ifstream(daemon_.PortFile()) >> port;
  const std::string address = std::string(NetRoom::kDaemonHost) + ":" + port;
  if (Status status = room_->EnterDaemonSide(); !status.ok()) return status;
  auto observer = PeerLoad::Connect({.address = address, .name = "observer"});
  if (!observer.ok()) return observer.status();
  observer_ = std::move(observer).value();
  view_ = std::make_unique<DaemonView>(observer_->client(), daemon_.pid(), pauses_);
  auto load = PeerLoad::Connect({.address = address,
                                 .name = "bystander",
                                 .store = options_.seed,
                                 .number = 1,
                                 .pieces = true});
  if (!load.ok()) return load.status();
  bystander_ = std::make_unique<Bystander>(std::move(load).value(), random_.Next());
  const Result<Traces> traces = view_->Look();
  if (!traces.ok()) return traces.status();
  baseline_connections_ = traces->connections;
  for (Child* const victim : {&busy_, &idle_}) {
    const bool idles = victim == &idle_;
    Status status =
        victim->Start(options_.programs + "/peer_faults",
                      {.address = address,
                       .tcp = false,
                       .store = options_.seed,
                       .number = idles ? 2000U : 1000U,
                       .calm = true,
                       .idle = idles},
                      options_.data + (idles ? "/idle.out" : "/busy.out"), room_->OnClientSide());
    if (!status.ok()) return status;
    if (!victim->Await("ready", kReadyMax)) return Status::Internal("victim: " + victim->Output());
  }
  return {};
}

Result<Nanos> PartitionCampaign::AwaitWord(Child& victim, const std::string& word, Nanos since,
                                           std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const Nanos time = TimeOf(victim.Output(), word, since);
    if (time != 0) return time;
    if (victim.Wait(2ms) == Child::State::kEnded) {
      return Status::Internal("a victim ended: " + victim.end().ToString() + ", " +
                              victim.Output());
    }
    if (std::chrono::steady_clock::now() > deadline) return Status(StatusCode::kTimeout);
  }
}

Status PartitionCampaign::AwaitFound(Nanos cut_at, const std::string& what) {
  const auto took = view_->Await(
      [this](const Traces& traces) {
        return traces.connections == baseline_connections_ && traces.quarantined == 0;
      },
      kFoundMax);
  const Nanos now = SteadyClock().Now();
  if (took.ok()) {
    totals_.daemon_found_s = std::max(totals_.daemon_found_s, Seconds(now - cut_at));
  } else {
    if (took.code() != StatusCode::kTimeout) return took.status();
    Miss(what + ": the daemon did not find it: " + took.status().message());
  }
  for (Child* const victim : {&busy_, &idle_}) {
    const Result<Nanos> away = AwaitWord(*victim, "away", cut_at, kFoundMax);
    if (away.ok()) {
      totals_.client_found_s = std::max(totals_.client_found_s, Seconds(*away - cut_at));
    } else {
      if (away.code() != StatusCode::kTimeout) return away.status();
      Miss(what + ": a client did not find it: " + victim->Output());
    }
  }
  return {};
}

Status PartitionCampaign::AwaitHealed(Nanos healed_at, const std::string& what) {
  for (Child* const victim : {&busy_, &idle_}) {
    const Result<Nanos> good = AwaitWord(*victim, "good", healed_at, kHealedMax);
    if (good.ok()) {
      totals_.healed_s = std::max(totals_.healed_s, Seconds(*good - healed_at));
    } else {
      if (good.code() != StatusCode::kTimeout) return good.status();
      Miss(what + ": a client did not come back: " + victim->Output());
    }
  }
  return {};
}

Status PartitionCampaign::RunRound(Cut cut) {
  // Not always at the same moment between two heartbeats.
  std::this_thread::sleep_for(std::chrono::milliseconds(500 + random_.Below(1500)));
  const std::string what = "round " + std::to_string(totals_.rounds) + ", " + CutName(cut);
  const Nanos cut_at = SteadyClock().Now();
  if (Status status = room_->Apply(cut); !status.ok()) return status;
  if (Status status = AwaitFound(cut_at, what); !status.ok()) return status;
  std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(3000)));
  const Nanos healed_at = SteadyClock().Now();
  if (Status status = room_->Heal(); !status.ok()) return status;
  if (Status status = AwaitHealed(healed_at, what); !status.ok()) return status;
  ++totals_.rounds;
  return {};
}

PartitionTotals PartitionCampaign::Run() {
  Status status = Begin();
  std::vector<Cut> bag;
  for (std::uint32_t round = 0; status.ok() && round < options_.rounds; ++round) {
    if (bag.empty()) {
      bag.assign(std::begin(kCuts), std::end(kCuts));
      for (std::size_t i = bag.size(); i > 1; --i) std::swap(bag[i - 1], bag[random_.Below(i)]);
    }
    status = RunRound(bag.back());
    bag.pop_back();
  }
  for (Child* const victim : {&busy_, &idle_}) {
    victim->TellToEnd();
    if (status.ok() &&
        (victim->Wait(kReadyMax) != Child::State::kEnded || !victim->end().Clean())) {
      status = Status::Internal("a victim did not end well: " + victim->Output());
    }
    std::istringstream lines(victim->Output());
    std::string line;
    while (std::getline(lines, line)) {
      std::istringstream words(line);
      std::string first, took_word;
      Nanos time = 0, took = 0;
      if (words >> first >> time >> took_word >> took && first == "lost") {
        totals_.slowest_call_s = std::max(totals_.slowest_call_s, Seconds(took));
      }
    }
    totals_.wrong += victim->Output().find("wrong=0") == std::string::npos && status.ok() ? 1 : 0;
  }
  if (!status.ok()) {
    ++totals_.failed;
    std::fprintf(stderr, "peer_faults: %s\n", status.ToString().c_str());
  }
  if (bystander_ != nullptr) {
    bystander_->Pause();
    totals_.harmed += bystander_->counts().lost + bystander_->reconnects();
    totals_.wrong += bystander_->counts().wrong;
    if (bystander_->counts().good == 0) ++totals_.failed;
  }
  return totals_;
}

}  // namespace

PartitionTotals RunPartitionCampaign(const PartitionOptions& options) {
  return PartitionCampaign(options).Run();
}

}  // namespace terrace::peers

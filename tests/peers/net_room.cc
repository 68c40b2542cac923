#include "tests/peers/net_room.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "tests/common/daemon_process.h"

namespace terrace::peers {

namespace {

constexpr const char* kIp = "/usr/sbin/ip";
constexpr const char* kClientHost = "10.77.0.2";
constexpr const char* kDaemonMac = "02:00:00:00:77:01";
constexpr const char* kClientMac = "02:00:00:00:77:02";
constexpr const char* kNobodysMac = "02:00:00:00:77:ff";

Result<std::string> IpSays(std::vector<std::string> arguments) {
  const std::string output = "/tmp/terrace-ip-" + std::to_string(::getpid());
  ::unlink(output.c_str());
  arguments.insert(arguments.begin(), kIp);
  const Result<crash::ProcessEnd> end = crash::RunProgram(arguments, output);
  std::ifstream file(output);
  const std::string said{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ::unlink(output.c_str());
  if (end.ok() && end->Clean()) return said;
  std::string command;
  for (const std::string& argument : arguments) command += argument + ' ';
  return Status(StatusCode::kUnsupported,
                command + "failed: " + (end.ok() ? said : end.status().message()));
}

Status Ip(std::vector<std::string> arguments) { return IpSays(std::move(arguments)).status(); }

}  // namespace

std::string CutName(Cut cut) {
  switch (cut) {
    case Cut::kCable: return "cable";
    case Cut::kBothWays: return "both ways";
    case Cut::kToDaemon: return "to the daemon";
    case Cut::kToClient: return "to the client";
  }
  return "?";
}

Result<NetRoom> NetRoom::Make() {
  NetRoom room("terrace-" + std::to_string(::getpid()));
  if (Status status = room.Build(); !status.ok()) return status;
  return room;
}

NetRoom::NetRoom(NetRoom&& other) noexcept : name_(std::exchange(other.name_, "")) {}

NetRoom::~NetRoom() {
  if (name_.empty()) return;
  for (const char* const side : {"d", "c"}) (void)Ip({"netns", "del", name_ + side});
}

Status NetRoom::Build() const {
  const std::string daemon = name_ + "d";
  const std::string client = name_ + "c";
  const std::vector<std::vector<std::string>> steps = {
      {"netns", "add", daemon},
      {"netns", "add", client},
      {"-n", daemon, "link", "add", "cable", "address", kDaemonMac, "type", "veth", "peer", "name",
       "cable", "address", kClientMac, "netns", client},
      {"-n", daemon, "addr", "add", std::string(kDaemonHost) + "/24", "dev", "cable"},
      {"-n", client, "addr", "add", std::string(kClientHost) + "/24", "dev", "cable"},
      {"-n", daemon, "link", "set", "lo", "up"},
      {"-n", client, "link", "set", "lo", "up"},
  };
  for (const auto& step : steps) {
    if (Status status = Ip(step); !status.ok()) return status;
  }
  if (Status status = Heal(); !status.ok()) return status;
  // The kernel says a moment later that the link is up, and UCX takes no other.
  for (const std::string& side : {daemon, client}) {
    for (int i = 0; i < 1000; ++i) {
      const auto said = IpSays({"-n", side, "-o", "link", "show", "cable"});
      if (!said.ok()) return said.status();
      if (said->find("state UP") != std::string::npos) break;
      ::usleep(10'000);
    }
  }
  return {};
}

std::vector<std::string> NetRoom::OnDaemonSide() const {
  return {kIp, "netns", "exec", name_ + "d"};
}
std::vector<std::string> NetRoom::OnClientSide() const {
  return {kIp, "netns", "exec", name_ + "c"};
}

Status NetRoom::EnterDaemonSide() const {
  const int fd = ::open(("/run/netns/" + name_ + "d").c_str(), O_RDONLY | O_CLOEXEC);
  const int failed = fd < 0 ? -1 : ::setns(fd, CLONE_NEWNET);
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (failed == 0) return {};
  return {StatusCode::kUnsupported, std::string("setns: ") + std::strerror(error)};
}

Status NetRoom::Neighbours(bool right_on_daemon_side, bool right_on_client_side) const {
  Status status =
      Ip({"-n", name_ + "d", "neigh", "replace", kClientHost, "lladdr",
          right_on_daemon_side ? kClientMac : kNobodysMac, "nud", "permanent", "dev", "cable"});
  if (!status.ok()) return status;
  return Ip({"-n", name_ + "c", "neigh", "replace", kDaemonHost, "lladdr",
             right_on_client_side ? kDaemonMac : kNobodysMac, "nud", "permanent", "dev", "cable"});
}

Status NetRoom::Apply(Cut cut) const {
  switch (cut) {
    case Cut::kCable: return Ip({"-n", name_ + "d", "link", "set", "cable", "down"});
    case Cut::kBothWays: return Neighbours(false, false);
    case Cut::kToDaemon: return Neighbours(true, false);
    case Cut::kToClient: return Neighbours(false, true);
  }
  return {};
}

Status NetRoom::Heal() const {
  for (const char* const side : {"d", "c"}) {
    if (Status status = Ip({"-n", name_ + side, "link", "set", "cable", "up"}); !status.ok()) {
      return status;
    }
  }
  return Neighbours(true, true);
}

}  // namespace terrace::peers

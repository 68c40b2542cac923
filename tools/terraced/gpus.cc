#include "tools/terraced/gpus.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include "tiers/hbm/gpu.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

constexpr std::uint64_t kDoubleBytes = 1ULL << 30;  // touched as it is used

struct Doubles {
  std::string name;
  int count = 0;
};

/// Nothing: the machine's GPUs are meant. kInvalid for a text that is none.
Result<std::optional<Doubles>> WantedDoubles() {
  const char* const text = std::getenv(kGpuDoublesVariable);
  if (text == nullptr) return std::optional<Doubles>();
  const std::string_view all(text);
  const std::size_t colon = all.rfind(':');
  Doubles doubles{.name = std::string(all.substr(0, colon))};
  const std::string_view count = colon == std::string_view::npos ? "" : all.substr(colon + 1);
  const auto [end, error] =
      std::from_chars(count.data(), count.data() + count.size(), doubles.count);
  if (doubles.name.empty() || count.empty() || error != std::errc() ||
      end != count.data() + count.size() || doubles.count < 1) {
    return Status::Invalid(std::string(kGpuDoublesVariable) + ": \"" + text +
                           "\" is not NAME:COUNT");
  }
  return std::optional<Doubles>(std::move(doubles));
}

/// The double's name; kInvalid when there is none of that number.
Result<std::string> DoubleName(const Doubles& doubles, int index) {
  if (index >= doubles.count) {
    return Status::Invalid("there is no GPU " + std::to_string(index) + ": there are " +
                           std::to_string(doubles.count) + " doubles, numbered from 0");
  }
  return "double " + doubles.name + "/" + std::to_string(index);
}

/// What names the GPU over processes.
Result<std::string> IdentityOf(int index) {
  const auto doubles = WantedDoubles();
  if (!doubles.ok()) return doubles.status();
  return *doubles ? DoubleName(**doubles, index) : GpuUuid(index);
}

std::string CommandOf(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/cmdline", std::ios::binary);
  std::string command{std::istreambuf_iterator<char>(file), {}};
  while (!command.empty() && command.back() == '\0') command.pop_back();
  std::ranges::replace(command, '\0', ' ');
  return command;
}

/// "process 12 (terraced --config a.toml)", of whoever listens there.
std::string OwnerOf(const sockaddr_un& address, socklen_t bytes) {
  const int peer = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  ucred owner{};
  socklen_t owner_bytes = sizeof(owner);
  const bool known = peer >= 0 &&
                     ::connect(peer, reinterpret_cast<const sockaddr*>(&address), bytes) == 0 &&
                     ::getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &owner, &owner_bytes) == 0;
  if (peer >= 0) ::close(peer);
  if (!known || owner.pid == 0) return "a process that cannot be told";
  const std::string command = CommandOf(owner.pid);
  return "process " + std::to_string(owner.pid) + (command.empty() ? "" : " (" + command + ")");
}

}  // namespace

Result<std::unique_ptr<DeviceMemory>> OpenConfiguredGpu(const std::string& number) {
  const int index = std::stoi(number);
  const auto doubles = WantedDoubles();
  if (!doubles.ok()) return doubles.status();
  if (!*doubles) return OpenGpu(index);
  Result<std::string> name = DoubleName(**doubles, index);
  if (!name.ok()) return name.status();
  const char* const hang = std::getenv(kGpuHangVariable);
  return std::unique_ptr<DeviceMemory>(std::make_unique<HostDeviceMemory>(
      HostDeviceOptions{.name = *name,
                        .uuid = *name,
                        .total_bytes = kDoubleBytes,
                        .hang_file = hang != nullptr ? hang : ""}));
}

GpuHolds::~GpuHolds() {
  for (const int socket : sockets_) ::close(socket);
}

Status GpuHolds::Take(const std::string& number) {
  const std::string where = "hbm.gpus: \"" + number + "\": ";
  const Result<std::string> identity = IdentityOf(std::stoi(number));
  if (!identity.ok()) return {identity.code(), where + identity.status().message()};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // The first byte stays zero: a name of the kernel's, not of a file.
  const std::string name = ("terrace-gpu-" + *identity).substr(0, sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) {
    return {StatusCode::kIo, where + "cannot be held: socket: " + std::strerror(errno)};
  }
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), bytes) == 0 &&
      ::listen(socket, 8) == 0) {
    sockets_.push_back(socket);
    return {};
  }
  const int error = errno;
  ::close(socket);
  if (error != EADDRINUSE) {
    return {StatusCode::kIo, where + "cannot be held: " + std::strerror(error)};
  }
  return {StatusCode::kRetry, where + "this GPU (" + *identity + ") serves another daemon: " +
                                  OwnerOf(address, bytes) + "; a GPU serves one at a time"};
}

}  // namespace terrace

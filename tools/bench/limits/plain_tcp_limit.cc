#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <vector>

#include "tools/bench/limits/stream_limit.h"
#include "tools/bench/load/cold_memory.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kWriteBytes = 1 << 20;

struct Command {
  std::uint64_t block_bytes = 0;
  std::uint64_t blocks = 0;
};

bool SendAll(int socket, const void* bytes, std::size_t length) {
  const char* cursor = static_cast<const char*>(bytes);
  while (length > 0) {
    const ssize_t sent = ::send(socket, cursor, length, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    cursor += sent;
    length -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool ReceiveAll(int socket, void* bytes, std::size_t length) {
  return ::recv(socket, bytes, length, MSG_WAITALL) == static_cast<ssize_t>(length);
}

[[noreturn]] void Sender(int socket, std::uint64_t cold_bytes) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ColdMemory memory(cold_bytes);
  Command command;
  while (ReceiveAll(socket, &command, sizeof command)) {
    for (std::uint64_t block = 0; block < command.blocks; ++block) {
      const auto bytes = memory.Next(command.block_bytes);
      for (std::uint64_t offset = 0; offset < bytes.size(); offset += kWriteBytes) {
        const std::size_t length = std::min<std::size_t>(kWriteBytes, bytes.size() - offset);
        if (!SendAll(socket, bytes.data() + offset, length)) ::_exit(1);
      }
    }
  }
  ::_exit(0);
}

class PlainTcpLimit final : public StreamLimit {
 public:
  PlainTcpLimit(int socket, pid_t child, std::uint64_t cold_bytes)
      : socket_(socket), child_(child), memory_(cold_bytes), hot_(kWriteBytes) {}
  ~PlainTcpLimit() override {
    ::close(socket_);
    ::waitpid(child_, nullptr, 0);
  }

  double Run(std::uint64_t block_bytes, std::uint64_t blocks, bool through_hot) override {
    const Command command{.block_bytes = block_bytes, .blocks = blocks};
    const auto started = std::chrono::steady_clock::now();
    if (!SendAll(socket_, &command, sizeof command)) return -1;
    for (std::uint64_t block = 0; block < blocks; ++block) {
      const auto bytes = memory_.Next(block_bytes);
      for (std::uint64_t offset = 0; offset < bytes.size(); offset += kWriteBytes) {
        const std::size_t length = std::min<std::size_t>(kWriteBytes, bytes.size() - offset);
        std::byte* const destination = bytes.data() + offset;
        if (!ReceiveAll(socket_, through_hot ? hot_.data() : destination, length)) return -1;
        if (through_hot) std::memcpy(destination, hot_.data(), length);
      }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    return static_cast<double>(block_bytes * blocks) / took.count() / 1e9;
  }

 private:
  int socket_;
  pid_t child_;
  ColdMemory memory_;
  std::vector<std::byte> hot_;
};

}  // namespace

std::unique_ptr<StreamLimit> MakePlainTcpLimit(std::uint64_t cold_bytes) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || ::bind(listener, generic, length) != 0 || ::listen(listener, 1) != 0 ||
      ::getsockname(listener, generic, &length) != 0) {
    return nullptr;
  }
  const int one = 1;
  const pid_t child = ::fork();
  if (child == 0) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(socket, generic, length) != 0) ::_exit(1);
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Sender(socket, cold_bytes);
  }
  const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  ::close(listener);
  if (child < 0 || socket < 0) return nullptr;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return std::make_unique<PlainTcpLimit>(socket, child, cold_bytes);
}

std::string CongestionControl() {
  std::ifstream file("/proc/sys/net/ipv4/tcp_congestion_control");
  std::string name;
  file >> name;
  return name.empty() ? "unknown" : name;
}

}  // namespace terrace::bench

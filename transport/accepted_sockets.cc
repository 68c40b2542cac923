#include "transport/accepted_sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <system_error>
#include <vector>

#include "transport/socket.h"

namespace terrace {
namespace {

std::vector<int> OpenDescriptors() {
  std::vector<int> descriptors;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    if (descriptor >= 0) descriptors.push_back(descriptor);
  }
  return descriptors;
}

}  // namespace

std::size_t HangUpOnTheUnheard(std::uint16_t port, std::set<std::string>& heard) {
  std::size_t unheard = 0;
  std::set<std::string> present;
  for (const int descriptor : OpenDescriptors()) {
    if (LocalAddress(descriptor).port() != port) continue;
    // UCX's thread may close it at any moment, and the number be another socket's: look at and
    // shut down what is surely the same one.
    const UniqueFd socket(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    if (!socket || LocalAddress(socket.get()).port() != port) continue;
    const SocketAddress peer = RemoteAddress(socket.get());
    if (peer.length == 0) continue;  // listens, or is not connected any more
    std::string address = peer.ToString();
    if (heard.contains(address)) {
      present.insert(std::move(address));
      continue;
    }
    ++unheard;
    ::shutdown(socket.get(), SHUT_RDWR);
  }
  heard = std::move(present);
  return unheard;
}

}  // namespace terrace

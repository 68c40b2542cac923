// Waits for a client to lose its daemon, or to find it again.
#pragma once

#include <chrono>

#include "client/terrace.hpp"

namespace terrace::testing {

/// False when it is not so within 20 s.
inline bool WaitUntilConnected(Client& client, bool connected) {
  const Deadline end = In(std::chrono::seconds(20));
  while (client.Connected() != connected && std::chrono::steady_clock::now() < end) {
    // A pause.
    [[maybe_unused]] const Status status =
        client.WaitForCompletion(In(std::chrono::milliseconds(5)));
  }
  return client.Connected() == connected;
}

}  // namespace terrace::testing

// HostileClient: one connection to a daemon that begins honestly and goes wrong somewhere.
//
// Model. A round is one connection: it says hello, sends requests that could be anybody's, and on
// the way mutates bytes, lengths, order, splits and the shared page, or hangs up. All of it is
// decided by the random numbers, so a seed repeats a round (what the daemon answers, and when, is
// not repeated). Nothing is expected of the daemon but that it lives.
//
// Thread: one. Lifetime: the daemon may read and write `memory` while a round runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/random.h"
#include "tests/fuzz/fuzz_target.h"
#include "transport/codec.h"
#include "transport/shm/ring.h"
#include "transport/socket.h"

namespace terrace::fuzz {

class HostileClient {
 public:
  HostileClient(std::uint16_t port, std::uint16_t http_port, Random& random);

  /// One round. False: nobody answers at the port.
  bool Round();
  /// Connections that got as far as a HelloReply, since the beginning.
  [[nodiscard]] std::uint64_t welcomed() const noexcept { return welcomed_; }

  // What it says, for who says it another way.
  static constexpr std::uint64_t kIncarnation = 5;
  Bytes Hello(bool local);
  /// Mostly one that could be anybody's.
  Bytes Request();
  Bytes OpenRequest(const MessageHead& head);
  Bytes RegisterRequest(const MessageHead& head);
  /// Changes some bytes, or none.
  void Mutate(Bytes& bytes);

 private:
  bool Http();
  bool Session(bool local);
  bool Connect(bool local);
  Bytes HonestRequest(std::uint64_t id);
  void Send(const Bytes& bytes, bool with_descriptors);
  void SendFrame(Bytes message);
  /// Takes what comes, descriptors too, for `milliseconds` at most; true when anything came.
  bool Hear(int milliseconds);
  void OpenPage();
  void Scribble();
  void HangUp();

  const std::uint16_t port_;
  const std::uint16_t http_port_;
  Random& random_;
  /// What the daemon reads from and writes to. Far from everything else that this process has: what
  /// is written to a mutated address must not hit the mutator.
  const std::span<std::byte> memory_;
  std::array<std::uint64_t, 2> probe_{};
  std::uint64_t welcomed_ = 0;

  // Of the round.
  UniqueFd fd_;
  std::vector<UniqueFd> passed_;
  std::shared_ptr<SharedPage> page_;
  std::optional<RingWriter> ring_;
  std::uint32_t space_ = 0;
};

}  // namespace terrace::fuzz

// HostilePlane: one connection over TCP whose data messages go wrong.
//
// Model. A round says hello, opens the data connection with the token that it was given, and mostly
// asks for something, so that the daemon pulls blocks and pushes others. On the way headers,
// lengths, tokens, ids, order and payloads are mutated, messages of this and earlier connections
// come again, messages stop in the middle, and either connection may go first. All of it is decided
// by the random numbers, like the rounds of a HostileClient.
//
// Thread: one. Lifetime: `client` and `random` outlive it.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/fuzz/hostile_client.h"
#include "transport/frame_reader.h"
#include "transport/socket.h"
#include "transport/tcp/data_message.h"

namespace terrace::fuzz {

class HostilePlane final {
 public:
  /// `client`: whose requests are sent.
  HostilePlane(HostileClient& client, std::uint16_t port, Random& random)
      : client_(client), port_(port), random_(random) {}
  HostilePlane(const HostilePlane&) = delete;
  HostilePlane& operator=(const HostilePlane&) = delete;

  /// One round. False: nobody answers at the port.
  bool Round();

  /// How far the rounds came, since the beginning.
  struct Reached {
    std::uint64_t opened = 0;   ///< data planes that the daemon opened
    std::uint64_t pulled = 0;   ///< blocks that it asked for
    std::uint64_t stored = 0;   ///< blocks of puts that it took
    std::uint64_t corrupt = 0;  ///< that it refused for what was sent
    std::uint64_t pushed = 0;   ///< data messages of gets
    std::uint64_t sent = 0;     ///< data messages of ours
    [[nodiscard]] std::string ToString() const;
  };
  [[nodiscard]] const Reached& reached() const noexcept { return reached_; }

 private:
  using Clock = std::chrono::steady_clock;

  void OnReply(const wire::Message& message);

  [[nodiscard]] UniqueFd Connect() const;
  /// Waits for the HelloReply; false: none came.
  bool Greeted();
  void OpenPlane();
  void SendFrame(const Bytes& message);
  void HearSocket();
  /// Reads what has come over the data connection. True: something had.
  bool HearData();
  void OnData(const DataHeader& header, const Bytes& payload);
  /// Hears the daemon until there is something to answer, at most so long.
  void Listen(std::chrono::milliseconds patience);
  void SendData(DataHeader header, std::size_t payload);
  void SendRaw(const Bytes& header, std::size_t payload);
  void Mutate(DataHeader& header);
  void AnswerPull();
  void PutOrGet();
  void Step();
  void End();

  HostileClient& client_;
  const std::uint16_t port_;
  Random& random_;
  Reached reached_;
  std::deque<DataHeader> earlier_;  // headers that were sent, also by connections that are gone

  // Of the round.
  UniqueFd fd_;
  FrameReader frames_{kControlBytesMax};
  UniqueFd data_;
  Bytes heard_;  // over data_, not a whole message yet
  std::uint64_t token_ = 0;
  bool opened_ = false;
  std::vector<std::uint32_t> spaces_;  // of small blocks, and of those of several messages
  std::deque<DataHeader> pulls_;       // not answered yet
  std::uint64_t next_request_ = 1;
  std::string key_;  // of the last put or get
};

}  // namespace terrace::fuzz

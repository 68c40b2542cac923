// RawClient: a blocking socket to a Server, for saying things that no library would say. What the
// daemon says over the ring of a same-host link is read too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "transport/codec.h"
#include "transport/frame_reader.h"
#include "transport/shm/ring.h"
#include "transport/socket.h"

namespace terrace::test {

class RawClient {
 public:
  /// `local`: over the unix socket. Reads end after 5 s.
  explicit RawClient(std::uint16_t port, bool local = false);
  [[nodiscard]] bool connected() const { return static_cast<bool>(fd_); }
  void SendBytes(std::span<const std::byte> bytes);
  void SendFrame(std::span<const std::byte> message);
  /// False: the other side closed, or 5 s have passed.
  bool ReadExactly(void* to, std::size_t bytes);
  /// The next frame; nothing when the other side closed, or after 5 s.
  std::optional<std::vector<std::byte>> ReadFrame();
  /// The text of the ErrorReply that comes next; what came instead otherwise.
  std::string ReadError();
  /// True when the server closes the connection within 5 s.
  bool WaitForClose();
  void Close() { fd_.Reset(); }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  std::optional<std::vector<std::byte>> ReadFromSocket();
  /// What has come over the ring, if a whole frame has.
  std::optional<std::vector<std::byte>> ReadFromRing();
  UniqueFd fd_;
  std::vector<UniqueFd> passed_;  // descriptors that came
  std::shared_ptr<SharedPage> page_;
  std::unique_ptr<RingReader> ring_;
  FrameReader frames_{kControlBytesMax};
  std::deque<std::vector<std::byte>> from_ring_;
};

struct HelloText {
  std::uint16_t version_min = 1;
  std::uint16_t version_max = 1;
  std::uint64_t incarnation = 5;
  std::string tenant = "default";
  std::string name = "raw";
  std::vector<std::uint8_t> links = {2};
  const std::uint64_t* probe = nullptr;  // two words
  std::uint64_t probe_value = 0;
  std::uint16_t shared_version = kSharedPageVersion;
};
std::vector<std::byte> BuildHello(const HelloText& text);

}  // namespace terrace::test

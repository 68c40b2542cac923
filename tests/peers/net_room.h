// NetRoom: two network namespaces with one cable between them that can be cut, both ways or one.
//
// Model. `ip netns` makes them; a veth pair is the cable; addresses and neighbours are fixed, so
// that nothing has to be found out over a network that is broken. One direction is cut by naming a
// neighbour's hardware address wrongly: the packets arrive and are dropped without a word, which is
// what a partition looks like. Needs root and iproute2.
//
// Thread: one. The namespaces go with the object.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace terrace::peers {

enum class Cut : std::uint8_t {
  kCable,     ///< the link goes down on both ends
  kBothWays,  ///< packets vanish, both ways
  kToDaemon,  ///< what clients send vanishes
  kToClient,  ///< what the daemon sends vanishes
};
inline constexpr Cut kCuts[] = {Cut::kCable, Cut::kBothWays, Cut::kToDaemon, Cut::kToClient};
std::string CutName(Cut cut);

class NetRoom {
 public:
  /// kUnsupported, with the words of `ip`, where they cannot be had.
  static Result<NetRoom> Make();
  NetRoom(NetRoom&& other) noexcept;
  NetRoom& operator=(NetRoom&&) = delete;
  NetRoom(const NetRoom&) = delete;
  ~NetRoom();

  static constexpr const char* kDaemonHost = "10.77.0.1";
  /// "ip netns exec NAME", to start a program there.
  [[nodiscard]] std::vector<std::string> OnDaemonSide() const;
  [[nodiscard]] std::vector<std::string> OnClientSide() const;
  /// The calling thread, and those that it starts from now on, see the daemon's side.
  Status EnterDaemonSide() const;

  Status Apply(Cut cut) const;
  Status Heal() const;

 private:
  explicit NetRoom(std::string name) : name_(std::move(name)) {}
  Status Build() const;
  Status Neighbours(bool right_on_daemon_side, bool right_on_client_side) const;

  std::string name_;  // empty: moved from
};

}  // namespace terrace::peers

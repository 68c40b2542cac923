// ChannelRequest: one Expect or Offer of a Channel, and what has become of its blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "transport/socket.h"
#include "transport/tcp/block_receiver.h"
#include "transport/tcp/data_sender.h"

namespace terrace {

struct ChannelRequest {
  bool answered = false;   ///< the daemon replied: it touches nothing of this any more
  bool withdrawn = false;  ///< the owner waits for OnQuiet
  /// tcp: data of this request is to come, or the daemon's asking for it.
  SocketPoll::Awaited awaited;

  // Expect.
  PieceMemory destinations;
  std::vector<BlockReceiver> receivers;  ///< over tcp: one per block of `destinations`
  std::vector<StatusCode> verified;      ///< same host, when verification was asked for

  // Offer.
  PieceMemory sources;
  std::vector<std::shared_ptr<Outgoing>> sending;
};

}  // namespace terrace

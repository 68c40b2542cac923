// ChannelRequest: one Expect or Offer of a Channel, and what has become of its blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "transport/block_receiver.h"
#include "transport/data_sender.h"
#include "transport/ucx_worker.h"

namespace terrace {

struct ChannelRequest {
  bool answered = false;   ///< the daemon replied: it touches nothing of this any more
  bool withdrawn = false;  ///< the owner waits for OnQuiet
  /// tcp: the worker expects data of this request, or the daemon's asking for it.
  UcxWorker::Awaited awaited;

  // Expect.
  PieceMemory destinations;
  std::vector<BlockReceiver> receivers;  ///< over tcp: one per block of `destinations`
  std::vector<StatusCode> verified;      ///< same host, when verification was asked for

  // Offer.
  PieceMemory sources;
  std::vector<std::shared_ptr<Outgoing>> sending;
};

}  // namespace terrace

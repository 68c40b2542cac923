// What is looked at while nobody works: every block of a store, and the frames of the daemon.
// Thread: one. Everything referred to outlives the call.
#pragma once

#include <functional>
#include <vector>

#include "tests/crash/block_client.h"

namespace terrace::crash {

/// Gets every block that was ever put. Wrong bytes, and the loss of what must be there, become
/// findings; `came_round` says of a life whether the log's ring has come round since it began.
/// kPeerDead: the daemon is gone, what was not looked at yet is judged the next time. Any other
/// failure is one of the daemon's: blocks that it neither serves nor misses, a namespace that it
/// refuses.
Status VerifyStore(BlockClient& client, const std::vector<SpacePlan>& spaces, Oracle& oracle,
                   const std::function<bool(std::uint32_t life)>& came_round, Findings& findings);

/// Waits until every frame of DRAM belongs to a block and nothing waits to be written or for its
/// transport; what does not come to that within `kDrainWait` is leaked. `emptied`: the daemon
/// holds no block any more, so it must hold no frame. kPeerDead as above.
Status CheckFrames(Client& client, bool emptied, Findings& findings);

}  // namespace terrace::crash

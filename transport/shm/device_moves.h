// DeviceMoves: the transfers of one client whose memory is a GPU's.
//
// Model. A GPU's copy cannot be called back, so a transfer is a task of its own, which goes step by
// step (device_plan.h) and holds the frame, the region and the connection until its last copy has
// ended. The call that waits for it ends by the deadline; a step that is under way then goes on
// (quarantine, L2), and the request is quiet, and answered (PeerLink::Send), when it has ended.
// Nothing begins after a cancel or the client's end. While anything is under way the client's
// socket is not closed: to the client its end means that nobody touches the memory any more.
//
// Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/device_region.h"
#include "base/link.h"
#include "transport/peer_link.h"
#include "transport/socket.h"

namespace terrace {

struct DeviceStep;

class DeviceMoves {
 public:
  /// `context` outlives the moves, which keep the connection until they have ended.
  explicit DeviceMoves(LinkContext& context) : context_(context) {}
  ~DeviceMoves();
  DeviceMoves(const DeviceMoves&) = delete;
  DeviceMoves& operator=(const DeviceMoves&) = delete;

  using Places = std::vector<RemoteRegions::RemotePiece>;
  /// True when one of the places is on a GPU: then the calls below move the block, or say why not.
  [[nodiscard]] static bool Concerns(const Places& places) noexcept;

  /// As of Link, of a transfer whose requests' Begin was not called yet.
  Task<Status> Push(Hold source, BlockTransfer transfer, Places places,
                    std::vector<std::uint64_t> stored);
  Task<Status> Pull(Hold destination, BlockTransfer transfer, Places places,
                    std::span<std::uint64_t> checksums);
  Task<Status> PushFrom(std::shared_ptr<DeviceSource> source, BlockTransfer transfer,
                        Places places);
  /// Whether PushFrom can, of a block on that GPU.
  [[nodiscard]] static bool CanPushFrom(const DeviceCopier& gpu, const Places& places);

  /// The link has ended, with `reason`.
  void End(const Status& reason);
  [[nodiscard]] bool under_way() const noexcept { return !moves_.empty(); }
  /// Closes the socket when nothing is under way any more. REQUIRES: under_way().
  void CloseWhenQuiet(UniqueFd socket) {
    if (socket) socket_ = std::move(socket);
  }

 private:
  struct Move;
  using MoveRef = std::shared_ptr<Move>;
  enum class Kind : std::uint8_t { kPush, kPull, kPushFrom };

  Result<MoveRef> Make(Kind kind, const BlockTransfer& transfer, Places places);
  /// Runs the move, and waits for it by its deadline.
  Task<Status> Await(MoveRef move, Nanos deadline);
  static Task<void> Run(MoveRef move);
  static Task<Status> RunSteps(Move* move);
  static Task<Status> CompareStep(Move* move, const DeviceStep* step);
  [[nodiscard]] Status Stopped(const Move& move) const;
  void Ended(const MoveRef& move);

  LinkContext& context_;
  std::set<MoveRef> moves_;
  Status end_;  ///< why the link has ended; ok while it lives
  UniqueFd socket_;
};

}  // namespace terrace

// ShmLink: a client on the same host. Control messages go over shared rings (transport/shm/),
// blocks are lent, or copied between frames and the client's memory by process_vm_writev and
// process_vm_readv, which the daemon may use on processes of its own user (or of all users, with
// CAP_SYS_PTRACE).
//
// The kernel checks the addresses; a wrong one ends that block with kInvalid. A copy is made in
// slices, with everything else of the reactor in between; at each slice the deadline, a cancel and
// the client's life are looked at. A slice that touches memory which the client backs by something
// slow (userfaultfd, FUSE) holds the reactor for as long: clients of the daemon's own user are
// trusted that far (docs/protocol.md, security).
//
// Memory of a GPU that the client exported is copied by that GPU (device_moves.h).
//
// Thread: the reactor's.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "transport/control_stream.h"
#include "transport/peer_link.h"
#include "transport/shm/client_process.h"
#include "transport/shm/device_moves.h"
#include "transport/shm/lease_board.h"
#include "transport/shm/ring_stream.h"
#include "transport/socket.h"

namespace terrace {

/// Whether the memory of process `pid` can be read and written: reads the word at `address`,
/// which must be `expected`, and writes `challenge` behind it. kUnsupported says why not.
Status ProbeProcessMemory(pid_t pid, std::uint64_t address, std::uint64_t expected,
                          std::uint64_t challenge);

class ShmLink final : public PeerLink {
 public:
  /// What the link works with; all of it outlives the link.
  struct Ways {
    ControlStream& socket;  ///< descriptors go over it
    RingStream& ring;       ///< messages go over it
  };
  /// `board`: null when nothing is lent. `verify`: send checksums along.
  ShmLink(LinkContext& context, Ways ways, ClientProcess process, std::unique_ptr<LeaseBoard> board,
          bool verify)
      : PeerLink(context),
        ways_(ways),
        process_(std::move(process)),
        board_(std::move(board)),
        device_moves_(context),
        verify_(verify) {}

  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kShm; }
  Task<Status> Push(Hold source, BlockTransfer transfer,
                    std::span<const std::uint64_t> checksums) override;
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override;
  [[nodiscard]] bool ReachesDevice(const DeviceCopier& gpu, std::uint64_t block_bytes,
                                   const BlockTransfer& transfer) const override;
  Task<Status> PushFromDevice(std::shared_ptr<DeviceSource> source,
                              BlockTransfer transfer) override;
  bool CloseWhenQuiet(const std::function<UniqueFd()>& take_socket) override;
  [[nodiscard]] Status CanLend(const LentPlace& place, std::uint64_t bytes) override;
  Result<Loan> Lend(Hold frame, const LentPlace& place, ExtentSource& extents,
                    Nanos until) override;
  void Recall(std::uint32_t extent, std::uint32_t edition) override;
  void EndLoans(std::uint32_t first, std::uint32_t last) override {
    if (board_ != nullptr) board_->EndIn(first, last);
  }
  void EndLoan(const LentPlace& place) override {
    if (board_ != nullptr) board_->EndAt(place);
  }
  void WakeTransfers(std::uint64_t /*request_id*/) override {}  // they look at every slice

  static constexpr std::size_t kSliceBytes = 1 << 20;

 private:
  enum class Direction : std::uint8_t { kWrite, kRead };
  /// Where a transfer has come to.
  struct Cursor {
    std::vector<RemoteRegions::RemotePiece> places;
    std::size_t place = 0;       // index of the current one
    std::uint64_t in_place = 0;  // bytes of it that are done
  };
  void SendMessage(std::vector<std::byte> message) override { ways_.ring.Send(std::move(message)); }
  void OnEnd() override;
  Task<Status> PushToPlaces(std::shared_ptr<DeviceSource> source, BlockTransfer transfer,
                            DeviceMoves::Places places);
  /// Counts what has come, and answers.
  Status AfterDeviceMove(Status status, std::uint64_t bytes, std::atomic<std::uint64_t>& counter);
  Status OfferExtent(const LentPlace& place, ExtentSource& extents);

  Status CheckSlice(const BlockTransfer& transfer);
  static void Advance(Cursor& cursor, std::uint64_t bytes);
  /// Copies bytes [at, at + bytes) of the frame's range from or to where the cursor stands.
  /// `checksum`: if not null, Checksum64 of those bytes afterwards.
  Status CopySlice(Direction direction, const RangeView& frame, std::uint64_t at,
                   std::uint64_t bytes, Cursor& cursor, std::uint64_t* checksum = nullptr);
  /// As many pieces as follow each other in one region that is mapped. Bytes done; 0: the client
  /// took memory away. `checksum` is set where that is all of `bytes`.
  static std::uint64_t CopyMapped(Direction direction, const RangeView& frame, std::uint64_t at,
                                  std::uint64_t bytes, const Cursor& cursor,
                                  std::uint64_t* checksum);
  /// As much as one call of the kernel's moves, of pieces that are not mapped. Bytes done.
  Result<std::uint64_t> CopyByKernel(Direction direction, const RangeView& frame, std::uint64_t at,
                                     std::uint64_t bytes, const Cursor& cursor) const;

  const Ways ways_;
  const ClientProcess process_;
  std::unique_ptr<LeaseBoard> board_;
  DeviceMoves device_moves_;
  std::map<std::uint32_t, std::uint32_t> offered_;  // edition of each extent the client knows
  const bool verify_;
};

}  // namespace terrace

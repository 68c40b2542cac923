// CopyLink: blocks copied between frames and a client's memory on the same host by
// process_vm_writev and process_vm_readv, which the daemon may use on processes of its own user
// (or of all users, with CAP_SYS_PTRACE).
//
// The kernel checks the addresses; a wrong one ends that block with kInvalid. A copy is made in
// slices, with everything else of the reactor in between; at each slice the deadline, a cancel and
// the client's life are looked at. A slice that touches memory which the client backs by something
// slow (userfaultfd, FUSE) holds the reactor for as long: clients of the daemon's own user are
// trusted that far (docs/protocol.md, security).
//
// Thread: the reactor's.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "transport/control_stream.h"
#include "transport/peer_link.h"
#include "transport/socket.h"

namespace terrace {

/// Whether the memory of process `pid` can be read and written: reads the word at `address`,
/// which must be `expected`, and writes `challenge` behind it. kUnsupported says why not.
Status ProbeProcessMemory(pid_t pid, std::uint64_t address, std::uint64_t expected,
                          std::uint64_t challenge);

class CopyLink final : public PeerLink {
 public:
  /// `life`: a pidfd of `pid`, so that a number that was given to another process is not taken for
  /// it. `stream` outlives the link. `verify`: send checksums along.
  CopyLink(LinkContext& context, ControlStream& stream, pid_t pid, UniqueFd life, bool verify)
      : PeerLink(context), stream_(stream), pid_(pid), life_(std::move(life)), verify_(verify) {}

  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kCopy; }
  Task<Status> Push(Hold source, BlockTransfer transfer,
                    std::span<const std::uint64_t> checksums) override;
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override;
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
  void SendMessage(std::vector<std::byte> message) override { stream_.Send(std::move(message)); }
  void OnEnd() override {}

  Status CheckSlice(const BlockTransfer& transfer);
  /// Copies all of `local` from or to where the cursor stands.
  Status CopySlice(Direction direction, std::span<std::byte> local, Cursor& cursor);

  ControlStream& stream_;
  const pid_t pid_;
  const UniqueFd life_;
  const bool verify_;
};

}  // namespace terrace

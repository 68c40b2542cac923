#include "transport/shm/shm_link.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/checksum.h"
#include "base/wait.h"

namespace terrace {
namespace {

constexpr std::size_t kVectorsMax = 1024;  // of one call: the kernel's limit

/// An address of another process; never followed here.
void* RemotePointer(std::uint64_t address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the system calls want a number as a pointer
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
}

}  // namespace

Status ProbeProcessMemory(pid_t pid, std::uint64_t address, std::uint64_t expected,
                          std::uint64_t challenge) {
  const auto failed = [](const std::string& what) {
    return Status(StatusCode::kUnsupported, "same-host copies do not work: " + what);
  };
  std::uint64_t found = 0;
  iovec local{&found, sizeof(found)};
  iovec remote{RemotePointer(address), sizeof(found)};
  if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof(found)) {
    return failed(std::string("process_vm_readv: ") + std::strerror(errno));
  }
  if (found != expected) return failed("the probe word is not the client's");
  local.iov_base = &challenge;
  remote.iov_base = RemotePointer(address + sizeof(found));
  if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != sizeof(challenge)) {
    return failed(std::string("process_vm_writev: ") + std::strerror(errno));
  }
  return {};
}

Status ShmLink::CheckSlice(const BlockTransfer& transfer) {
  if (!Alive()) return end();
  if (context_.requests.Cancelled(transfer.request_id)) {
    return Status(StatusCode::kCancelled, "the client cancelled the request");
  }
  if (context_.scheduler.Now() >= transfer.deadline) {
    return Status(StatusCode::kTimeout, "the deadline passed in mid copy");
  }
  return process_.CheckLife();
}

void ShmLink::Advance(Cursor& cursor, std::uint64_t bytes) {
  cursor.in_place += bytes;
  while (cursor.place < cursor.places.size() &&
         cursor.in_place >= cursor.places[cursor.place].length) {
    cursor.in_place -= cursor.places[cursor.place].length;
    ++cursor.place;
  }
}

std::uint64_t ShmLink::CopyMapped(Direction direction, const RangeView& frame, std::uint64_t at,
                                  std::uint64_t bytes, const Cursor& cursor,
                                  std::uint64_t* checksum) {
  std::array<SharedRegion::Part, SharedRegion::kPartsMax> parts;
  std::size_t count = 0;
  std::uint64_t done = 0;
  SharedRegion& region = *cursor.places[cursor.place].shared;
  std::size_t place = cursor.place;
  std::uint64_t in_place = cursor.in_place;
  while (done < bytes && count < parts.size() && cursor.places[place].shared == &region) {
    const std::span<std::byte> together = frame.From(at + done);
    const std::uint64_t left = cursor.places[place].length - in_place;
    const std::uint64_t length = std::min({together.size(), bytes - done, left});
    parts[count++] = {cursor.places[place].offset + in_place, together.first(length)};
    done += length;
    in_place += length;
    if (length < left) continue;
    in_place = 0;
    if (++place == cursor.places.size()) break;
  }
  const std::span<const SharedRegion::Part> all(parts.data(), count);
  const bool copied = direction == Direction::kWrite
                          ? region.WriteParts(all)
                          : region.ReadParts(all, done == bytes ? checksum : nullptr);
  return copied ? done : 0;
}

Result<std::uint64_t> ShmLink::CopyByKernel(Direction direction, const RangeView& frame,
                                            std::uint64_t at, std::uint64_t bytes,
                                            const Cursor& cursor) const {
  std::array<iovec, kVectorsMax> remote;
  std::size_t vectors = 0;
  std::uint64_t wanted = 0;
  std::uint64_t in_place = cursor.in_place;
  for (std::size_t i = cursor.place;
       i < cursor.places.size() && cursor.places[i].shared == nullptr && vectors < kVectorsMax &&
       wanted < bytes;
       ++i) {
    const auto& place = cursor.places[i];
    const std::uint64_t length = std::min(place.length - in_place, bytes - wanted);
    remote[vectors++] = {RemotePointer(place.address + in_place), length};
    wanted += length;
    in_place = 0;
  }
  // The frame's side may end first, where a range has many stretches: the kernel then copies less.
  std::array<iovec, kVectorsMax> own;
  std::size_t own_vectors = 0;
  for (std::uint64_t done = 0; done < wanted && own_vectors < kVectorsMax;) {
    const std::span<std::byte> part = frame.From(at + done);
    const std::uint64_t length = std::min<std::uint64_t>(part.size(), wanted - done);
    own[own_vectors++] = {part.data(), length};
    done += length;
  }
  if (Status status = process_.CheckOwner(); !status.ok()) return status;
  const pid_t pid = process_.pid();
  const ssize_t copied =
      direction == Direction::kWrite
          ? process_vm_writev(pid, own.data(), own_vectors, remote.data(), vectors, 0)
          : process_vm_readv(pid, own.data(), own_vectors, remote.data(), vectors, 0);
  if (copied > 0) {
    if (direction == Direction::kRead) {
      if (Status status = process_.CheckOwner(); !status.ok()) return status;
    }
    // Less than wanted: a later piece is at fault, and the next call will say so.
    return static_cast<std::uint64_t>(copied);
  }
  if (copied < 0 && errno == ESRCH) {
    return Status(StatusCode::kPeerDead, "the client has exited");
  }
  const auto& place = cursor.places[cursor.place];
  return Status(copied < 0 && errno != EFAULT ? StatusCode::kUnsupported : StatusCode::kInvalid,
                std::string(direction == Direction::kWrite ? "write to" : "read from") +
                    " region " + std::to_string(place.region) + ", piece of " +
                    std::to_string(place.length) + " bytes at byte " +
                    std::to_string(cursor.in_place) + ": " +
                    std::strerror(copied < 0 ? errno : EFAULT));
}

Status ShmLink::CopySlice(Direction direction, const RangeView& frame, std::uint64_t at,
                          std::uint64_t bytes, Cursor& cursor, std::uint64_t* checksum) {
  const std::uint64_t begin = at;
  const std::uint64_t end = at + bytes;
  bool hashed = false;
  while (at < end) {
    std::uint64_t done = 0;
    const auto& place = cursor.places[cursor.place];
    if (place.shared != nullptr) {
      // Hashed in one walk with the copy, where that is one.
      done = CopyMapped(direction, frame, at, end - at, cursor, at == begin ? checksum : nullptr);
      hashed = done == bytes;
      if (done == 0) {
        return Status::Invalid("region " + std::to_string(place.region) +
                               ": the client took memory away from it");
      }
    } else {
      const Result<std::uint64_t> copied = CopyByKernel(direction, frame, at, end - at, cursor);
      if (!copied.ok()) return copied.status();
      done = *copied;
    }
    at += done;
    Advance(cursor, done);
  }
  if (checksum != nullptr && !hashed) *checksum = frame.Checksum(begin, bytes);
  return {};
}

Task<Status> ShmLink::Push(Hold source, BlockTransfer transfer,
                           std::span<const std::uint64_t> checksums) {
  const RangeView view(source.bytes(), transfer.range);
  if (!Alive()) co_return end();
  auto places = context_.regions.Resolve(transfer.pieces, view.size());
  if (!places.ok()) co_return places.status();
  if (DeviceMoves::Concerns(*places)) {
    Status moved = co_await device_moves_.Push(std::move(source), transfer, std::move(*places),
                                               {checksums.begin(), checksums.end()});
    co_return AfterDeviceMove(std::move(moved), view.size(), context_.counters.bytes_pushed);
  }
  std::vector<std::uint64_t> sums;
  if (verify_ && !view.whole()) {
    Status sound = co_await ChecksumRange(view, checksums, &sums);
    if (!sound.ok()) co_return sound;
    checksums = sums;
  }
  if (Status status = CheckBegin(transfer); !status.ok()) co_return status;
  Cursor cursor{std::move(places.value())};
  Status status;
  for (std::uint64_t done = 0; done < view.size() && status.ok(); done += kSliceBytes) {
    const std::uint64_t slice = std::min<std::uint64_t>(kSliceBytes, view.size() - done);
    co_await LongWork{.bytes = slice, .ends_request = true};
    status = CheckSlice(transfer);
    if (!status.ok()) break;
    status = CopySlice(Direction::kWrite, view, done, slice, cursor);
  }
  if (status.ok()) {
    context_.counters.bytes_pushed.fetch_add(view.size(), std::memory_order_relaxed);
    if (verify_ && Alive()) SendChecksums(transfer, checksums);
  }
  context_.requests.End(transfer.request_id);
  co_return status;
}

Task<Status> ShmLink::Pull(Hold destination, BlockTransfer transfer,
                           std::span<std::uint64_t> checksums) {
  const std::span<std::byte> bytes = destination.bytes();
  TERRACE_CHECK(checksums.size() == ChecksumPieceCount(bytes.size()));
  if (!Alive()) co_return end();
  auto places = context_.regions.Resolve(transfer.pieces, bytes.size());
  if (!places.ok()) co_return places.status();
  if (DeviceMoves::Concerns(*places)) {
    Status moved = co_await device_moves_.Pull(std::move(destination), transfer, std::move(*places),
                                               checksums);
    co_return AfterDeviceMove(std::move(moved), bytes.size(), context_.counters.bytes_pulled);
  }
  if (Status status = CheckBegin(transfer); !status.ok()) co_return status;
  Cursor cursor{std::move(places.value())};
  const RangeView view(bytes, {});
  Status status;
  // In checksum pieces, so that each is hashed while it is in the cache; four make a slice.
  for (std::size_t done = 0; done < bytes.size() && status.ok(); done += kChecksumPieceBytes) {
    if (done % kSliceBytes == 0) {
      // One that has begun is finished first: its write can start while the next is copied.
      co_await LongWork{.bytes = std::min(kSliceBytes, bytes.size() - done),
                        .ends_request = done > 0};
      status = CheckSlice(transfer);
      if (!status.ok()) break;
    }
    status =
        CopySlice(Direction::kRead, view, done, std::min(kChecksumPieceBytes, bytes.size() - done),
                  cursor, &checksums[done / kChecksumPieceBytes]);
  }
  // Once more: a daemon that stood still in the last copy has read memory that its client, who gave
  // up at the deadline, may have used again.
  if (status.ok()) status = CheckSlice(transfer);
  if (status.ok()) {
    context_.counters.bytes_pulled.fetch_add(bytes.size(), std::memory_order_relaxed);
  }
  context_.requests.End(transfer.request_id);
  co_return status;
}

bool ShmLink::ReachesDevice(const DeviceCopier& gpu, std::uint64_t block_bytes,
                            const BlockTransfer& transfer) const {
  if (!Alive() || !context_.regions.has_devices()) return false;
  if (!transfer.range.IsWhole(block_bytes)) return false;
  const auto places = context_.regions.Resolve(transfer.pieces, block_bytes);
  return places.ok() && DeviceMoves::CanPushFrom(gpu, *places);
}

Task<Status> ShmLink::PushFromDevice(std::shared_ptr<DeviceSource> source, BlockTransfer transfer) {
  // Here and not in the task, which begins in a later turn: the client may register another region
  // of that number meanwhile, on another GPU.
  auto places = context_.regions.Resolve(transfer.pieces, source->bytes());
  TERRACE_CHECK(places.ok());
  return PushToPlaces(std::move(source), transfer, std::move(*places));
}

Task<Status> ShmLink::PushToPlaces(std::shared_ptr<DeviceSource> source, BlockTransfer transfer,
                                   DeviceMoves::Places places) {
  if (!Alive()) co_return end();
  const std::uint64_t bytes = source->bytes();
  Status moved = co_await device_moves_.PushFrom(std::move(source), transfer, std::move(places));
  co_return AfterDeviceMove(std::move(moved), bytes, context_.counters.bytes_pushed);
}

Status ShmLink::AfterDeviceMove(Status status, std::uint64_t bytes,
                                std::atomic<std::uint64_t>& counter) {
  if (status.ok()) {
    counter.fetch_add(bytes, std::memory_order_relaxed);
    context_.counters.bytes_of_devices.fetch_add(bytes, std::memory_order_relaxed);
  }
  return status;
}

void ShmLink::OnEnd() {
  board_.reset();
  device_moves_.End(end());
}

bool ShmLink::CloseWhenQuiet(const std::function<UniqueFd()>& take_socket) {
  if (!device_moves_.under_way()) return false;
  device_moves_.CloseWhenQuiet(take_socket());
  return true;
}

Status ShmLink::OfferExtent(const LentPlace& place, ExtentSource& extents) {
  if (const auto known = offered_.find(place.extent);
      known != offered_.end() && known->second == place.edition) {
    return {};
  }
  const Result<SharedExtent> extent = extents.ShareExtent(place.extent, place.edition);
  if (!extent.ok()) return extent.status();
  // It must be there before the reply that names it, which takes the ring.
  Status sent = ways_.socket.SendCopyOf(
      extent->descriptor,
      BuildMessage<wire::ExtentOffer>(
          {0, context_.incarnation, 0}, [&](flatbuffers::FlatBufferBuilder& builder) {
            const DeviceExport* const device = extent->device;
            if (device == nullptr) {
              return wire::CreateExtentOffer(builder, place.extent, place.edition, extent->bytes);
            }
            const auto gpu = builder.CreateString(device->gpu);
            const auto handle =
                builder.CreateVector(reinterpret_cast<const std::uint8_t*>(device->handle.data()),
                                     device->handle.size());
            return wire::CreateExtentOffer(builder, place.extent, place.edition, extent->bytes, gpu,
                                           handle);
          }));
  if (!sent.ok()) return sent;
  offered_[place.extent] = place.edition;
  return {};
}

void ShmLink::Recall(std::uint32_t extent, std::uint32_t edition) {
  const auto known = offered_.find(extent);
  if (!Alive() || known == offered_.end() || known->second != edition) return;
  offered_.erase(known);
  // Over the socket, so that it stays in order with offers.
  ways_.socket.Send(BuildMessage<wire::ExtentRecall>(
      {0, context_.incarnation, 0}, [&](flatbuffers::FlatBufferBuilder& builder) {
        return wire::CreateExtentRecall(builder, extent, edition);
      }));
}

Status ShmLink::CanLend(const LentPlace& place, std::uint64_t bytes) {
  if (!Alive()) return end();
  if (board_ == nullptr) return {StatusCode::kUnsupported, "lending is turned off"};
  return board_->CanLend(place, bytes);
}

Result<Loan> ShmLink::Lend(Hold frame, const LentPlace& place, ExtentSource& extents, Nanos until) {
  if (!Alive()) return end();
  if (board_ == nullptr) return Status(StatusCode::kUnsupported, "lending is turned off");
  if (place.edition == 0) return Status(StatusCode::kUnsupported, "the memory cannot be lent");
  if (Status status = OfferExtent(place, extents); !status.ok()) return status;
  return board_->Lend(std::move(frame), place, until);
}

}  // namespace terrace

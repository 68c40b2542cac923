// ChannelImpl: what the daemon and the NIC are told of the client's memory.
#include <algorithm>
#include <string>
#include <utility>

#include "base/crash_point.h"
#include "transport/channel_factory.h"
#include "transport/channel_impl.h"

namespace terrace {

void ChannelImpl::AddRegion(std::uint32_t region, ClientMemory memory) {
  if (state_ != State::kOpen) return;
  if (memory.device != nullptr) {
    device_memory_[region] = memory.bytes;
    if (daemon_life_ == nullptr && hello_.link == LinkKind::kShm) {
      // Who registers it has asked before (Daemon), and was told why where that failed.
      if (auto daemon = Daemon(); daemon.ok()) {
        daemon_life_ = std::make_unique<DaemonLife>(factory_.poll(), std::move(*daemon));
      }
    }
    return;
  }
  std::vector<std::byte> key;
  if (hello_.link == LinkKind::kRdma) {
    auto registration = worker_->Register(memory.bytes);
    // Without a key the daemon answers kInvalid, naming the region.
    if (registration.ok()) {
      RemoveRegistration(region);
      registered_[region] = registration->memory;
      key = std::move(registration->packed_key);
    }
  }
  const bool shared = hello_.link == LinkKind::kShm && memory.file != nullptr &&
                      ShareRegion(region, memory.bytes.size(), *memory.file);
  Send(BuildMessage<wire::RegisterRegion>(
      {0, options_.incarnation, 0}, [&](flatbuffers::FlatBufferBuilder& builder) {
        return wire::CreateRegisterRegion(builder, region,
                                          reinterpret_cast<std::uintptr_t>(memory.bytes.data()),
                                          memory.bytes.size(), BuildBytes(builder, key), shared);
      }));
  CrashHere(CrashPoint::kClientRegionTold);
}

bool ChannelImpl::ShareRegion(std::uint32_t region, std::uint64_t length, const UniqueFd& file) {
  // Refused: it is copied as any other memory is.
  return stream_
      ->SendCopyOf(file.get(), BuildMessage<wire::ShareRegion>(
                                   {0, options_.incarnation, 0},
                                   [&](flatbuffers::FlatBufferBuilder& builder) {
                                     return wire::CreateShareRegion(builder, region, length);
                                   }))
      .ok();
}

void ChannelImpl::RemoveRegion(std::uint32_t region) {
  RemoveRegistration(region);
  device_memory_.erase(region);
  Send(BuildMessage<wire::ForgetRegion>({0, options_.incarnation, 0},
                                        [&](flatbuffers::FlatBufferBuilder& builder) {
                                          return wire::CreateForgetRegion(builder, region);
                                        }));
}

void ChannelImpl::RemoveRegistration(std::uint32_t region) {
  const auto found = registered_.find(region);
  if (found == registered_.end()) return;
  worker_->Unregister(found->second);
  registered_.erase(found);
}

bool ChannelImpl::AwaitsDaemonExit(const Status& reason) {
  if (awaits_exit_) return true;
  if (state_ != State::kOpen || device_memory_.empty() || daemon_life_ == nullptr ||
      std::ranges::all_of(requests_, [](const auto& entry) { return entry.second.answered; })) {
    return false;
  }
  awaits_exit_ = daemon_life_->AwaitExit(
      [this, reason] { End(Status(StatusCode::kPeerDead, reason.message())); });
  return awaits_exit_;
}

Result<std::shared_ptr<const DaemonProcess>> ChannelImpl::Daemon() {
  if (state_ != State::kOpen || hello_.link != LinkKind::kShm) {
    return Status(StatusCode::kUnsupported, "the daemon is not on this host, or has gone");
  }
  return DaemonProcess::Behind(stream_->fd());
}

void ChannelImpl::OnDeviceOffer(const wire::ExtentOffer& offer, UniqueFd held) {
  if (options_.mapper == nullptr) return;
  const auto handle = BytesOf(offer.handle());
  const DeviceExport exported{.gpu = std::string(TextOf(offer.gpu())),
                              .handle = {handle.begin(), handle.end()},
                              .offset = 0,
                              .bytes = offer.length()};
  Status status = held ? CheckDeviceExport(exported)
                       : Status(StatusCode::kUnsupported, "it was offered without a descriptor");
  if (status.ok() && !extents_.has_devices()) {
    auto daemon = Daemon();
    status = daemon.status();
    if (daemon.ok()) extents_.HasDevicesOf(std::move(*daemon));
  }
  if (status.code() == StatusCode::kPeerDead) return;
  if (!status.ok()) return options_.mapper->Refuse(exported.gpu, status);
  extents_.OfferDevice(offer.extent(), offer.edition(), std::move(held), exported,
                       *options_.mapper);
}

bool ChannelImpl::IsOnDevice(const std::byte* at) const {
  return std::ranges::any_of(device_memory_, [at](const auto& entry) {
    const std::span<std::byte> memory = entry.second;
    return at >= memory.data() && at < memory.data() + memory.size();
  });
}

}  // namespace terrace

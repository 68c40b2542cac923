// ServerPeer: memory of GPUs that the client registers.
#include <utility>

#include "base/wait.h"
#include "transport/codec.h"
#include "transport/server_impl.h"
#include "transport/server_peer.h"

namespace terrace {
namespace {

// Of a client: a mapping costs the driver memory, and addresses of the GPU.
constexpr std::size_t kTasksMax = 64;     // regions that are being mapped or unmapped
constexpr std::size_t kDevicesMax = 256;  // regions
// How long a region that is forgotten may be used by copies under way.
constexpr Nanos kLetGoWithin = 10 * kSecond;

Status TooMany(std::size_t most, const char* what) {
  return {StatusCode::kRetry, "at most " + std::to_string(most) + what};
}

}  // namespace

void ServerPeer::OnRegisterDevice(const wire::Message& message) {
  const wire::RegisterDevice& body = *message.body_as_RegisterDevice();
  const auto handle = BytesOf(body.handle());
  DeviceExport exported{.gpu = std::string(TextOf(body.gpu())),
                        .handle = {handle.begin(), handle.end()},
                        .offset = body.offset(),
                        .bytes = body.length()};
  Status status = CheckDeviceExport(exported);
  if (status.ok() && body.region() == 0) status = Status::Invalid("region 0 is no region");
  if (status.ok() && link_->kind() != LinkKind::kShm) {
    status = Status(StatusCode::kUnsupported,
                    "memory of a GPU: this daemon maps it for clients of its host, over shm");
  }
  if (status.ok() && server_.devices() == nullptr) {
    status = Status(StatusCode::kUnsupported,
                    "this daemon has no GPU " + exported.gpu + " (config hbm.gpus)");
  }
  if (status.ok() && device_tasks_ >= kTasksMax) {
    status = TooMany(kTasksMax, " regions are mapped or unmapped at once");
  }
  if (status.ok() && devices_.size() + devices_opening_.size() >= kDevicesMax) {
    status = TooMany(kDevicesMax, " regions in the memory of GPUs");
  }
  if (!status.ok()) return Refuse(message, status);
  devices_opening_[body.region()] = message.request_id();
  ++device_tasks_;
  server_.background().Spawn(
      OpenDevice(shared_from_this(), message.request_id(), body.region(), std::move(exported)));
}

Task<void> ServerPeer::OpenDevice(std::shared_ptr<ServerPeer> /*self*/, std::uint64_t request_id,
                                  std::uint32_t region, DeviceExport exported) {
  const std::uint64_t bytes = exported.bytes;
  auto opened = co_await server_.devices()->Open(std::move(exported));
  --device_tasks_;
  if (state_ != State::kConnected) co_return;
  Status status = opened.status();
  // Forgotten meanwhile, or registered once more: it goes at once.
  const auto waiting = devices_opening_.find(region);
  if (waiting == devices_opening_.end() || waiting->second != request_id) {
    status = Status(StatusCode::kCancelled, "the region was forgotten meanwhile");
  } else {
    devices_opening_.erase(waiting);
  }
  if (status.ok()) {
    RemoteRegions::Region entry;
    entry.length = bytes;
    entry.device = std::move(*opened);
    status = context_.regions.Add(region, std::move(entry));
  }
  if (!status.ok()) {
    Reply(BuildError({request_id, context_.incarnation, 0}, status));
    co_return;
  }
  devices_.insert(region);
  server_.counters().regions_of_devices.fetch_add(1, std::memory_order_relaxed);
  Reply(BuildMessage<wire::Empty>({request_id, context_.incarnation, 0}));
}

void ServerPeer::OnForgetDevice(const wire::Message& message) {
  const std::uint32_t region = message.body_as_ForgetDevice()->region();
  std::weak_ptr<DeviceRegion> mapped;
  if (const RemoteRegions::Region* known = context_.regions.Find(region)) mapped = known->device;
  context_.regions.Remove(region);
  devices_opening_.erase(region);
  devices_.erase(region);
  if (server_.devices() == nullptr) {
    Reply(BuildMessage<wire::Empty>({message.request_id(), context_.incarnation, 0}));
    return;
  }
  if (device_tasks_ >= kTasksMax) {
    return Refuse(message, TooMany(kTasksMax, " regions are mapped or unmapped at once"));
  }
  ++device_tasks_;
  server_.background().Spawn(
      CloseDevice(shared_from_this(), message.request_id(), std::move(mapped)));
}

Task<void> ServerPeer::CloseDevice(std::shared_ptr<ServerPeer> /*self*/, std::uint64_t request_id,
                                   std::weak_ptr<DeviceRegion> mapped) {
  Status status;
  // Copies under way have it mapped until they end.
  const Nanos end = server_.scheduler().Now() + kLetGoWithin;
  while (state_ == State::kConnected && !mapped.expired()) {
    if (server_.scheduler().Now() >= end) {
      status = Status(StatusCode::kRetry, "copies of the region are under way");
      break;
    }
    co_await SleepUntil{server_.scheduler().Now() + kMillisecond};
  }
  // Twice: a mapping that was under way is let go when it has come, behind the first.
  for (int turn = 0; turn < 2 && status.ok(); ++turn) {
    status = co_await server_.devices()->Settle();
  }
  --device_tasks_;
  if (state_ != State::kConnected) co_return;
  const MessageHead head{request_id, context_.incarnation, 0};
  Reply(status.ok() ? BuildMessage<wire::Empty>(head) : BuildError(head, status));
}

}  // namespace terrace

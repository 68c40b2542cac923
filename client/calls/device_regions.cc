// Client: regions in the memory of a GPU.
#include <chrono>
#include <string>
#include <utility>

#include "client/calls/client_impl.h"
#include "client/regions/device_memory.h"
#include "transport/codec.h"
#include "transport/shm/daemon_life.h"

namespace terrace {
namespace {

constexpr auto kLetGoWithin = std::chrono::seconds(1);

}  // namespace

RequestRef RequestBuilder::RegisterDevice(const RegionTable::Region& region) const {
  const DeviceExport& exported = *region.memory.device;
  RequestRef request = EachShard(RequestKind::kRegisterDevice, [&](const MessageHead& head) {
    return BuildMessage<wire::RegisterDevice>(head, [&](flatbuffers::FlatBufferBuilder& builder) {
      const auto gpu = builder.CreateString(exported.gpu);
      const auto handle = BuildBytes(builder, exported.handle);
      return wire::CreateRegisterDevice(builder, region.id, gpu, handle, exported.offset,
                                        exported.bytes);
    });
  });
  request->device = region;
  return request;
}

RequestRef RequestBuilder::ForgetDevice(std::uint32_t region) const {
  RequestRef request = EachShard(RequestKind::kForgetDevice, [region](const MessageHead& head) {
    return BuildMessage<wire::ForgetDevice>(head,
                                            [region](flatbuffers::FlatBufferBuilder& builder) {
                                              return wire::CreateForgetDevice(builder, region);
                                            });
  });
  request->device.id = region;
  return request;
}

Result<RegionId> Client::RegisterDeviceMemory(void* base, std::uint64_t length, Deadline deadline) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  if (Status status = RegionTable::Check(base, length); !status.ok()) return status;
  Result<DeviceExport> exported = ExportDeviceMemory({static_cast<std::byte*>(base), length});
  if (!exported.ok()) return exported.status();
  RegionTable& regions = impl_->core()->regions();
  const auto region = regions.AddDevice(base, length, std::move(*exported));
  if (!region.ok()) return region.status();
  const auto request = impl_->PreparePlain(deadline, [&region](const RequestBuilder& builder) {
    return builder.RegisterDevice(*region);
  });
  const Status status = impl_->Run(request);
  if (status.ok()) {
    regions.SetAccess(region->id, (*request)->epoch, Status());
    return RegionId{region->id};
  }
  // Some of the reactors may have mapped it. What they do not confirm goes with the connection.
  // Nobody learns this region's number: whatever the daemon says, it is not kept.
  const Status gone = DeregisterMemory({region->id});
  if (gone.ok()) return status;
  if (regions.Remove(region->id).ok()) {
    [[maybe_unused]] const bool told = impl_->core()->RemoveRegion(region->id);
  }
  return Status(StatusCode::kInDoubt,
                status.message() + "; it may be mapped all the same: " + gone.message());
}

Status Client::Impl::LetGoOfDevice(std::uint32_t region) const {
  const Result<bool> on_device = core_->regions().BeginRemove(region);
  if (!on_device.ok() || !*on_device) return on_device.status();
  const auto request = PreparePlain(In(kLetGoWithin), [region](const RequestBuilder& builder) {
    return builder.ForgetDevice(region);
  });
  const Nanos end = ToNanos(In(kLetGoWithin), core_->clock().Now());
  const Status status = Run(request);
  const std::string which = "region " + std::to_string(region) + ": ";
  if (status.code() == StatusCode::kTimeout || status.code() == StatusCode::kRetry) {
    return {StatusCode::kRetry, which + "the daemon has not unmapped it: " + status.message()};
  }
  // Who has exited has nothing mapped; nobody else is believed but who said so.
  for (const auto& daemon : core_->regions().DaemonsOf(region, status.ok())) {
    if (daemon->Exiting() && daemon->AwaitExit(end - core_->clock().Now())) continue;
    return {StatusCode::kInDoubt,
            which + "its daemon may have it mapped until it says otherwise, or exits: " +
                (status.ok() ? "it is another than the one that answers now" : status.message())};
  }
  return {};
}

}  // namespace terrace

#include "client/namespace_table.h"

#include <string>

namespace terrace {

std::uint64_t NamespaceView::BlockBytes(std::uint32_t group) const noexcept {
  for (const GroupSpec& spec : descriptor->groups) {
    if (spec.id == group) return spec.block_bytes;
  }
  return 0;
}

Result<NamespaceId> NamespaceTable::Opened(const NamespaceDescriptor& descriptor,
                                           std::uint64_t epoch, std::uint32_t daemon_id) {
  const std::lock_guard lock(mutex_);
  // A client opens a handful of namespaces, and rarely: no index by name.
  for (std::size_t i = 0; i < views_.size(); ++i) {
    NamespaceView& view = views_[i];
    if (view.descriptor->name != descriptor.name) continue;
    // The daemon accepted this descriptor, so it is the one that counts from now on: it differs
    // from the former one only where another daemon forgot the name in between.
    view.descriptor = std::make_shared<const NamespaceDescriptor>(descriptor);
    view.epoch = epoch;
    view.daemon_id = daemon_id;
    view.failure = {};
    return NamespaceId{static_cast<std::uint32_t>(i + 1)};
  }
  if (views_.size() >= kNamespacesMax) {
    return Status(StatusCode::kRetry, std::to_string(views_.size()) +
                                          " namespaces are open in this client: at most " +
                                          std::to_string(kNamespacesMax));
  }
  NamespaceView view;
  view.descriptor = std::make_shared<const NamespaceDescriptor>(descriptor);
  view.epoch = epoch;
  view.daemon_id = daemon_id;
  views_.push_back(std::move(view));
  return NamespaceId{static_cast<std::uint32_t>(views_.size())};
}

void NamespaceTable::Refused(NamespaceId id, std::uint64_t epoch, const Status& failure) {
  const std::lock_guard lock(mutex_);
  if (id.value == 0 || id.value > views_.size()) return;
  NamespaceView& view = views_[id.value - 1];
  view.epoch = epoch;
  view.daemon_id = 0;
  view.failure = failure;
}

Result<NamespaceView> NamespaceTable::Find(NamespaceId id) const {
  const std::lock_guard lock(mutex_);
  if (id.value == 0 || id.value > views_.size()) {
    return Status::Invalid("namespace " + std::to_string(id.value) +
                           " is not one that this client opened");
  }
  return views_[id.value - 1];
}

std::vector<NamespaceTable::Entry> NamespaceTable::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> all;
  all.reserve(views_.size());
  for (std::size_t i = 0; i < views_.size(); ++i) {
    all.push_back({NamespaceId{static_cast<std::uint32_t>(i + 1)}, views_[i].descriptor});
  }
  return all;
}

}  // namespace terrace

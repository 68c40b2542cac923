#include "client/request/namespace_table.h"

#include <atomic>
#include <string>

namespace terrace {
namespace {

/// Of each table other numbers, until a process has made a million of them.
std::uint32_t FirstId() {
  static std::atomic<std::uint32_t> tables{0};
  constexpr std::uint32_t kTables = 1'000'000;
  static_assert(kTables * kNamespacesMax < 0xffffffff);
  return 1 + tables.fetch_add(1) % kTables * static_cast<std::uint32_t>(kNamespacesMax);
}

}  // namespace

NamespaceTable::NamespaceTable() : first_id_(FirstId()) {}

NamespaceId NamespaceTable::IdOf(std::size_t index) const noexcept {
  return {first_id_ + static_cast<std::uint32_t>(index)};
}

const NamespaceView* NamespaceTable::ViewOf(NamespaceId id) const noexcept {
  const bool known = id.value >= first_id_ && id.value - first_id_ < views_.size();
  return known ? &views_[id.value - first_id_] : nullptr;
}

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
    return IdOf(i);
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
  return IdOf(views_.size() - 1);
}

void NamespaceTable::Refused(NamespaceId id, std::uint64_t epoch, const Status& failure) {
  const std::lock_guard lock(mutex_);
  if (ViewOf(id) == nullptr) return;
  NamespaceView& view = views_[id.value - first_id_];
  view.epoch = epoch;
  view.daemon_id = 0;
  view.failure = failure;
}

Result<NamespaceView> NamespaceTable::Find(NamespaceId id) const {
  const std::lock_guard lock(mutex_);
  if (const NamespaceView* view = ViewOf(id); view != nullptr) return *view;
  return Status::Invalid("namespace " + std::to_string(id.value) +
                         " is not one that this client opened");
}

std::vector<NamespaceTable::Entry> NamespaceTable::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> all;
  all.reserve(views_.size());
  for (std::size_t i = 0; i < views_.size(); ++i) {
    all.push_back({IdOf(i), views_[i].descriptor});
  }
  return all;
}

}  // namespace terrace

// LentGpus: the GPUs whose memory a client is lent, and why it is lent that of some no more.
//
// Model. A GPU whose memory could not be mapped once is asked for no more: what is lent then is
// memory of the host, as if it had not been named. A daemon that is gone is no such reason. What a
// daemon offers of a GPU that no lend has named is not mapped.
//
// Thread: any.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "base/device_mapping.h"
#include "base/result.h"

namespace terrace {

class LentGpus final : public DeviceMapper {
 public:
  Result<std::shared_ptr<const DeviceMapping>> Map(const DeviceExport& exported) override;
  void Refuse(const std::string& gpu, const Status& why) override;
  /// A lend names the GPU. False: its memory is not asked for, see RefusalOf.
  [[nodiscard]] bool Ask(const std::string& gpu);
  /// Why memory of that GPU is not asked for; ok: it is.
  [[nodiscard]] Status RefusalOf(std::string_view gpu) const;

 private:
  [[nodiscard]] bool Asked(const std::string& gpu) const;

  mutable std::mutex mutex_;
  std::set<std::string> asked_;                         ///< guarded by mutex_
  std::map<std::string, Status, std::less<>> refused_;  ///< by GPU; guarded by mutex_
};

}  // namespace terrace

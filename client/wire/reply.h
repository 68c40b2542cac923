// Reply: what the daemon's answers mean for a request. The library thread's.
//
// A message was verified as a flatbuffer; its counts and codes are checked here. An answer that
// does not fit its question is kInternal, never wrong bytes.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "client/request/request.h"
#include "transport/codec.h"

namespace terrace {

/// Whether block `index` of a part arrived whole; Channel::Arrived in production.
class ArrivalCheck {
 public:
  [[nodiscard]] virtual StatusCode Arrived(std::uint64_t request_id, std::uint32_t index) const = 0;
  /// The memory that a reply lends; Channel::TakeLoan in production.
  [[nodiscard]] virtual std::unique_ptr<LentMemory> TakeLoan(const wire::Loan& loan) const = 0;

 protected:
  ~ArrivalCheck() = default;
};

/// Notes the answer to one part.
void ApplyReply(Request& request, RequestPart& part, const wire::Message& message,
                const ArrivalCheck& arrivals);

/// Notes that a part ended without an answer, because of `status`: per block for the calls that
/// answer per block, for the call as a whole otherwise.
void FailPart(Request& request, RequestPart& part, const Status& status);

/// Notes that the daemon may still touch the part's memory although the call ends now: what is not
/// known to be good becomes kInDoubt.
void DoubtPart(Request& request, RequestPart& part);

/// Puts the answers of all parts together, once each part has one.
void CombineAnswer(Request& request);

}  // namespace terrace

// Client: blocks lent in memory of GPUs.
#include <new>
#include <utility>
#include <vector>

#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/session/lent_block.h"
#include "client/terrace.hpp"

namespace terrace {

Result<std::vector<LentBlock>> Client::LendWith(NamespaceId space, const Chain& chain,
                                                std::span<const std::uint32_t> positions,
                                                BlockKind kind, Deadline deadline,
                                                const LendOptions& options) try {
  const auto lend = [&](std::span<const std::uint32_t> wanted, const LendOptions& how) {
    const auto request = impl_->PrepareLend(space, chain, wanted, kind, deadline, how);
    return AnswerOf<std::vector<LentBlock>>(impl_->Run(request), request, LentBlocksOf);
  };
  Result<std::vector<LentBlock>> lent = lend(positions, options);
  if (!lent.ok() || options.gpu.empty()) return lent;
  // Of some it became known now that they cannot be mapped. Those are asked for once more, in DRAM.
  std::vector<std::uint32_t> again;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < lent->size(); ++i) {
    if ((*lent)[i].status != StatusCode::kUnsupported) continue;
    again.push_back(positions[i]);
    places.push_back(i);
  }
  if (again.empty()) return lent;
  LendOptions in_dram = options;
  in_dram.gpu.clear();
  Result<std::vector<LentBlock>> of_host = lend(again, in_dram);
  if (!of_host.ok()) return lent;
  for (std::size_t i = 0; i < places.size(); ++i) {
    (*lent)[places[i]] = std::move((*of_host)[i]);
  }
  return lent;
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<Ticket> Client::SubmitLendWith(NamespaceId space, const Chain& chain,
                                      std::span<const std::uint32_t> positions, BlockKind kind,
                                      Deadline deadline, const LendOptions& options) {
  return impl_->Submit(impl_->PrepareLend(space, chain, positions, kind, deadline, options));
}

Status Client::DeviceLending(std::string_view gpu) const {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  return impl_->core()->lent_gpus().RefusalOf(gpu);
}

}  // namespace terrace

// lend, from the memory of a GPU: find -> have the GPU check the copy -> lend its frame -> answer
#include <memory>
#include <utility>

#include "base/counter.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/device_copies.h"
#include "cache/hbm_side.h"

namespace terrace {

Task<bool> Cache::Impl::LendOnDevice(Link& link, const GetRequest& request,
                                     const WantedBlock& wanted, BlockAnswer* answer) {
  if (request.lend_for == 0 || loads->gpus_closed) co_return false;
  const BlockId id = FindBlock(request.chain, wanted.hash, wanted.key).id;
  if (id == kNoBlock || (*index)[id].state != BlockState::kPublished) co_return false;
  if (clock.Now() >= request.deadline) co_return false;
  if (!HbmBlock::MayLend(*hbm, id, request.lend_gpu)) co_return false;
  const std::shared_ptr<HbmBlock> block = HbmBlock::Begin(*hbm, id);
  if (!KeyIs(block->header(), request.chain, wanted.key)) co_return false;
  Result<Loan> loan = Loan{};
  if (Status can = link.CanLend(block->place(), block->bytes()); !can.ok()) {
    loan = std::move(can);
  } else {
    // Who was lent anything of its extent before could have written there.
    const Status sound = co_await block->Check(request, BeforeReply(request.deadline));
    if (!sound.ok() || !block->lendable()) co_return false;  // removed meanwhile, maybe put anew
    loan = link.Lend(block->Lend(), block->place(), block->tier(), clock.Now() + request.lend_for);
  }
  if (loan.code() == StatusCode::kPeerDead) {
    Count(counters.get_failures);
    *answer = {.status = loan.code()};
    co_return true;
  }
  if (!loan.ok()) co_return false;  // as much is lent of GPUs as may be, for instance
  CountGot(TierKind::kHbm, block->header(), block->bytes());
  Count(counters.blocks_lent);
  Count(counters.blocks_lent_hbm);
  *answer = {.status = StatusCode::kOk,
             .tier = TierKind::kHbm,
             .valid_tokens = block->header().valid_tokens,
             .loan = loan.value()};
  co_return true;
}

}  // namespace terrace

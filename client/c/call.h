// What every function of the C interface does: find the objects, run the C++ call, report its end.
//
// No exception leaves: out of memory is kRetry, anything else kInternal. Any thread.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "client/c/answer.h"
#include "client/c/handle_table.h"
#include "client/terrace.h"
#include "client/terrace.hpp"

namespace terrace::c {

HandleTable<Client>& Clients();
HandleTable<Chain>& Chains();
HandleTable<Answer>& Answers();

/// Fills `error`, which may be null, and returns the status as a number.
terrace_status Report(terrace_error* error, StatusCode code, const char* message) noexcept;

/// Runs `body`, which returns a Status.
template <typename Body>
terrace_status Guarded(terrace_error* error, Body body) noexcept {
  try {
    const Status status = body();
    return Report(error, status.code(), status.message().c_str());
  } catch (const std::bad_alloc&) {
    return Report(error, StatusCode::kRetry, "out of memory");
  } catch (const std::exception& exception) {
    return Report(error, StatusCode::kInternal, exception.what());
  } catch (...) {
    return Report(error, StatusCode::kInternal, "an exception of unknown kind");
  }
}

/// `body(client)`; the client lives until it has returned.
template <typename Body>
terrace_status WithClient(terrace_client client, terrace_error* error, Body body) noexcept {
  return Guarded(error, [&]() -> Status {
    const Result<std::shared_ptr<Client>> found = Clients().Find(client, "client");
    if (!found.ok()) return found.status();
    return body(**found);
  });
}

/// `body(client, chain)`, likewise.
template <typename Body>
terrace_status WithChain(terrace_client client, terrace_chain chain, terrace_error* error,
                         Body body) noexcept {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    const Result<std::shared_ptr<Chain>> found = Chains().Find(chain, "chain");
    if (!found.ok()) return found.status();
    return body(its_client, static_cast<const Chain&>(**found));
  });
}

/// kInvalid, naming it, when an argument that must be there is null.
Status NotNull(const void* pointer, const char* argument);
/// The same for an array that may be absent when it is empty.
Status NotNullUnless(bool empty, const void* pointer, const char* argument);

// A C++ answer to where the caller wants it.
Status GiveTicket(const Result<Ticket>& result, terrace_ticket* ticket);
Status GiveCount(const Result<std::uint64_t>& result, std::uint64_t* count);
Status GiveBlocks(const Result<std::vector<BlockResult>>& result, terrace_block_result* results);
/// Makes `answer` a terrace_result.
Status GiveAnswer(std::shared_ptr<Answer> answer, terrace_result* result);

/// What a submit does: `submit(client)` returns a Result<Ticket>.
template <typename Submit>
terrace_status SubmitTo(terrace_client client, terrace_ticket* ticket, terrace_error* error,
                        Submit submit) noexcept {
  return WithClient(client, error, [&](Client& its_client) -> Status {
    if (Status status = NotNull(ticket, "ticket"); !status.ok()) return status;
    return GiveTicket(submit(its_client), ticket);
  });
}
/// The same of a call about a chain: `submit(client, chain)`.
template <typename Submit>
terrace_status SubmitAbout(terrace_client client, terrace_chain chain, terrace_ticket* ticket,
                           terrace_error* error, Submit submit) noexcept {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(ticket, "ticket"); !status.ok()) return status;
    return GiveTicket(submit(its_client, keys), ticket);
  });
}
/// A call that waits and answers per block: `call(client, chain)` -> Result<vector<BlockResult>>.
template <typename Call>
terrace_status BlocksAbout(terrace_client client, terrace_chain chain,
                           terrace_block_result* results, terrace_error* error,
                           Call call) noexcept {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(results, "results"); !status.ok()) return status;
    return GiveBlocks(call(its_client, keys), results);
  });
}

}  // namespace terrace::c

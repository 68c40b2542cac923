#include "client/c/call.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "client/c/convert.h"

namespace terrace::c {

// Never destroyed: calls may come while the process ends.
HandleTable<Client>& Clients() {
  static auto& table = *new HandleTable<Client>(HandleKind::kClient);
  return table;
}
HandleTable<Chain>& Chains() {
  static auto& table = *new HandleTable<Chain>(HandleKind::kChain);
  return table;
}
HandleTable<Answer>& Answers() {
  static auto& table = *new HandleTable<Answer>(HandleKind::kResult);
  return table;
}

terrace_status Report(terrace_error* error, StatusCode code, const char* message) noexcept {
  if (error != nullptr) {
    error->status = static_cast<terrace_status>(code);
    error->reserved = 0;
    const std::size_t length = std::min(std::strlen(message), sizeof error->message - 1);
    std::memcpy(error->message, message, length);
    error->message[length] = '\0';
  }
  return static_cast<terrace_status>(code);
}

Status NotNull(const void* pointer, const char* argument) {
  return NotNullUnless(false, pointer, argument);
}

Status NotNullUnless(bool empty, const void* pointer, const char* argument) {
  if (pointer != nullptr || empty) return {};
  return Status::Invalid(std::string(argument) + " is null");
}

Status GiveTicket(const Result<Ticket>& result, terrace_ticket* ticket) {
  if (!result.ok()) return result.status();
  *ticket = *result;
  return {};
}

Status GiveCount(const Result<std::uint64_t>& result, std::uint64_t* count) {
  if (!result.ok()) return result.status();
  *count = *result;
  return {};
}

Status GiveBlocks(const Result<std::vector<BlockResult>>& result, terrace_block_result* results) {
  if (!result.ok()) return result.status();
  for (std::size_t i = 0; i < result->size(); ++i) results[i] = FromBlockResult((*result)[i]);
  return {};
}

Status GiveAnswer(std::shared_ptr<Answer> answer, terrace_result* result) {
  const Result<std::uint64_t> handle = Answers().Add(std::move(answer));
  if (!handle.ok()) return handle.status();
  *result = *handle;
  return {};
}

}  // namespace terrace::c

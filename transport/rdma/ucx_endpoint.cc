// UcxEndpoint of transport/rdma/ucx_worker.h.
#include "transport/rdma/ucx_gpu.h"
#include "transport/rdma/ucx_worker.h"

namespace terrace {

UcxEndpoint::~UcxEndpoint() { worker_.CloseEndpoint(endpoint_, id_); }

void UcxEndpoint::Put(std::span<const std::byte> source, const UcxMemory* of, std::uint64_t remote,
                      ucp_rkey_h key, UcxOperation& operation) {
  ucp_request_param_t param = worker_.RequestParam(operation);
  if (of != nullptr) {
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_MEMH;
    param.memory_type = UcxTypeOf(of->kind);
    param.memh = of->handle;
  }
  worker_.Track(ucp_put_nbx(endpoint_, source.data(), source.size(), remote, key, &param),
                operation);
}

void UcxEndpoint::Get(std::span<std::byte> destination, std::uint64_t remote, ucp_rkey_h key,
                      UcxOperation& operation) {
  const ucp_request_param_t param = worker_.RequestParam(operation);
  worker_.Track(ucp_get_nbx(endpoint_, destination.data(), destination.size(), remote, key, &param),
                operation);
}

void UcxEndpoint::Flush(UcxOperation& operation) {
  const ucp_request_param_t param = worker_.RequestParam(operation);
  worker_.Track(ucp_ep_flush_nbx(endpoint_, &param), operation);
}

Result<ucp_rkey_h> UcxEndpoint::UnpackKey(std::span<const std::byte> packed) {
  if (packed.empty()) return Status::Invalid("rkey is empty");
  ucp_rkey_h key = nullptr;
  const ucs_status_t status = ucp_ep_rkey_unpack(endpoint_, packed.data(), &key);
  if (status != UCS_OK) return StatusOfUcx(status, "rkey");
  return key;
}

}  // namespace terrace

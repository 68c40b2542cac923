#include "tools/replay/run/worker_protocol.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace terrace::replay {
namespace {

/// Receives one packet. @return its size, 0 when the other end is gone, -1 with errno.
ssize_t Receive(int socket, void* buffer, std::size_t bytes, int flags) {
  while (true) {
    const ssize_t got = recv(socket, buffer, bytes, flags | MSG_TRUNC);
    if (got >= 0 || errno != EINTR) return got;
  }
}

Status ReceiveFailure(ssize_t got) {
  if (got == 0) return Status(StatusCode::kPeerDead, "the other process closed its socket");
  if (errno == EAGAIN || errno == EWOULDBLOCK) return Status(StatusCode::kRetry);
  if (errno == ECONNRESET) return Status(StatusCode::kPeerDead, "the other process is gone");
  return Status(StatusCode::kIo, std::string("recv: ") + std::strerror(errno));
}

Status Malformed(ssize_t got) {
  return Status::Internal("a packet of " + std::to_string(got) + " bytes is no message");
}

}  // namespace

void SetText(WorkReport& report, std::string_view text) {
  const std::size_t count = std::min(text.size(), sizeof(report.text) - 1);
  std::memcpy(report.text, text.data(), count);
  report.text[count] = 0;
}

Status SendMessage(int socket, const void* message, std::size_t bytes) {
  while (true) {
    const ssize_t sent = send(socket, message, bytes, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes)) return Status::Ok();
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      return Status(StatusCode::kPeerDead, "the other process is gone");
    }
    return Status(StatusCode::kIo, std::string("send: ") + std::strerror(errno));
  }
}

Result<WorkOrder> ReceiveOrder(int socket) {
  WorkOrder order;
  const ssize_t got = Receive(socket, &order, sizeof order, 0);
  if (got <= 0) return ReceiveFailure(got);
  if (got != sizeof order || order.magic != kMessageMagic) return Malformed(got);
  return order;
}

Status ReceiveReport(int socket, WorkerMessage& message) {
  std::vector<std::byte> buffer(std::max(sizeof(WorkReport), sizeof(WorkerSummary)));
  const ssize_t got = Receive(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got <= 0) return ReceiveFailure(got);
  ReportHeader header;
  if (got < static_cast<ssize_t>(sizeof header)) return Malformed(got);
  std::memcpy(&header, buffer.data(), sizeof header);
  if (header.magic != kMessageMagic) return Malformed(got);
  message.kind = header.kind;
  if (header.kind == ReportKind::kSummary && got == sizeof(WorkerSummary)) {
    std::memcpy(&message.summary, buffer.data(), sizeof(WorkerSummary));
    return Status::Ok();
  }
  if (header.kind != ReportKind::kSummary && got == sizeof(WorkReport)) {
    std::memcpy(&message.report, buffer.data(), sizeof(WorkReport));
    message.report.text[sizeof(message.report.text) - 1] = 0;
    return Status::Ok();
  }
  return Malformed(got);
}

}  // namespace terrace::replay

// CrashPoint: places where a daemon can be told to die, for tests of what a crash leaves behind.
//
// Model. Every step that changes what a restart finds has a name, and so has every step of a client
// library's conversation with the daemon, of which a client that dies leaves the rest unsaid. The
// environment variable TERRACE_CRASH_POINT=NAME:N (see ArmCrashPoint) makes the process kill
// itself, with SIGKILL and without any cleaning up, when it reaches that place for the N-th time; a
// place that is not armed costs the comparison of one byte that never changes. All names stand in
// the lists below, so that `terraced --crash-points` and the crash loop (tests/crash) know the
// daemon's, and peer_faults (tests/peers) those of clients. A client is armed by a test that calls
// ArmCrashPoint: the library reads no such variable.
//
// Thread: Arm before other threads run; Here from any thread.
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"

namespace terrace {

// X(constant, name, what has just happened there). In the order of a block's life.
#define TERRACE_CRASH_POINT_LIST(X)                                                               \
  X(kStartNoted, "start.noted", "the start stands in the folder's file of starts")                \
  X(kStoreAllocated, "store.allocated", "the files of a new store are there, without superblock") \
  X(kStoreCopyWritten, "store.copy_written", "a new superblock's copy is synced, itself not")     \
  X(kStoreWritten, "store.written", "a new device has its superblock")                            \
  X(kStartLogOpened, "start.log_opened", "the devices are open and locked")                       \
  X(kStartIndexEmpty, "start.index_empty", "a new index is there, and names no store yet")        \
  X(kStartIndexNoted, "start.index_noted", "a new index names its store, synced")                 \
  X(kRebuildBegun, "rebuild.begun", "the index is to be made from the log")                       \
  X(kRebuildBatch, "rebuild.batch", "a batch of a rebuilt index is written")                      \
  X(kRebuildWritten, "rebuild.written",                                                           \
    "all entries of a rebuilt index are synced, its store not")                                   \
  X(kRebuildDone, "rebuild.done", "a rebuilt index names its store")                              \
  X(kStartIndexOpened, "start.index_opened", "the index is open and believed")                    \
  X(kRecoverEntry, "recover.entry", "a start has read one more entry of the index")               \
  X(kRecoverRead, "recover.read", "a start has read a slice's entries, stale ones still there")   \
  X(kRecoverDone, "recover.done", "a start has deleted a slice's stale entries")                  \
  X(kStartListening, "start.listening", "clients can connect")                                    \
  X(kNamespaceMade, "namespace.made", "a namespace has its number, the index not heard of it")    \
  X(kNamespaceQueued, "namespace.queued", "its entry waits for the index")                        \
  X(kPutReserved, "put.reserved", "a put has its frame")                                          \
  X(kPutPulled, "put.pulled", "the bytes of a put are in their frame")                            \
  X(kPutPublished, "put.published", "a block is visible")                                         \
  X(kPutQueued, "put.queued", "a block waits to be written")                                      \
  X(kRecordWritten, "record.written", "a block's record is written, not synced")                  \
  X(kRecordSynced, "record.synced", "a record that is to be durable is synced")                   \
  X(kRecordUnwanted, "record.unwanted", "a block was removed while its record was written")       \
  X(kEntryQueued, "entry.queued", "changes of the index wait to be written")                      \
  X(kIndexWritten, "index.written", "a batch of the index is written, not synced")                \
  X(kIndexDurable, "index.durable", "a batch of the index is written and synced")                 \
  X(kIndexSynced, "index.synced", "the index was synced because it was time")                     \
  X(kMarkerWritten, "marker.written", "the index knows the log up to a new marker, synced")       \
  X(kPutDurable, "put.durable", "a block is durable, and its put not answered")                   \
  X(kPutAnswered, "put.answered", "a put that asked for DURABLE was answered")                    \
  X(kBlockEvicted, "block.evicted", "a block with a record lost its frame")                       \
  X(kLoadRead, "load.read", "a record was read for a get")                                        \
  X(kReclaimBegun, "reclaim.begun", "a segment is about to be used again")                        \
  X(kMoveWritten, "move.written", "a record that moves is written anew, not synced")              \
  X(kMoveSynced, "move.synced", "a record that moves is synced, its entry is of the old place")   \
  X(kReclaimMoved, "reclaim.moved", "what moved is entered, not synced, the rest forgotten")      \
  X(kSegmentWritten, "segment.written", "a segment's next header is written, not synced")         \
  X(kSegmentSynced, "segment.synced", "a segment's next generation began")                        \
  X(kSegmentTurned, "segment.turned", "records go to the next segment from now on")               \
  X(kRemoveForgotten, "remove.forgotten", "a removed block is forgotten, in DRAM alone")          \
  X(kRemoveIndexed, "remove.indexed", "a removal is in the index, not in the log")                \
  X(kRemoveLogged, "remove.logged", "a removal is in the log on one device")                      \
  X(kRemoveAnswered, "remove.answered", "a removal was answered")                                 \
  X(kClearForgotten, "clear.forgotten", "a cleared namespace is forgotten, in DRAM alone")        \
  X(kClearIndexed, "clear.indexed", "a clear is in the index, not in the log")                    \
  X(kClearLogged, "clear.logged", "a clear is in the log on one device")                          \
  X(kClearAnswered, "clear.answered", "a clear was answered")                                     \
  X(kStopBegun, "stop.begun", "a clean stop was asked for")                                       \
  X(kStopDrained, "stop.drained", "nothing waits to be written any more")                         \
  X(kStopLogSynced, "stop.log_synced", "the log is synced for a clean stop")                      \
  X(kStopIndexClosed, "stop.index_closed", "the index is closed for a clean stop")

// The same for clients, in the order of a connection's life.
#define TERRACE_CLIENT_POINT_LIST(X)                                                              \
  X(kClientConnected, "client.connected", "the control socket is connected, nothing was said")    \
  X(kClientHelloSent, "client.hello_sent", "Hello is on its way")                                 \
  X(kClientHelloAnswered, "client.hello_answered", "HelloReply has come, with what it passes")    \
  X(kClientPlaneAsked, "client.plane_asked", "the data plane is being connected (TCP)")           \
  X(kClientSessionOpen, "client.session_open", "every reactor is connected, namespaces are open") \
  X(kClientRegionTold, "client.region_told", "the daemon is being told of a region")              \
  X(kClientMessageHalf, "client.message_half", "half of a message is written")                    \
  X(kClientRequestSent, "client.request_sent", "a part of a request is on its way")               \
  X(kClientDataCame, "client.data_came", "a piece of a block has come (TCP)")                     \
  X(kClientDataSent, "client.data_sent", "the pieces of a block are being sent (TCP)")            \
  X(kClientReplyCame, "client.reply_came", "the daemon has replied, nobody was told")             \
  X(kClientCancelSent, "client.cancel_sent", "a request was given up, the daemon is told")        \
  X(kClientExtentOffered, "client.extent_offered", "the daemon showed an extent, it is mapped")   \
  X(kClientExtentRecalled, "client.extent_recalled", "the daemon wants an extent back")           \
  X(kClientPingSent, "client.ping_sent", "a heartbeat is on its way")                             \
  X(kClientClosing, "client.closing", "a connection is about to be closed")                       \
  X(kClientClosed, "client.closed", "a connection is closed, the process is not")

enum class CrashPoint : std::uint8_t {
  kNone = 0,
#define TERRACE_CRASH_POINT_CONSTANT(constant, name, meaning) constant,
  TERRACE_CRASH_POINT_LIST(TERRACE_CRASH_POINT_CONSTANT)
      TERRACE_CLIENT_POINT_LIST(TERRACE_CRASH_POINT_CONSTANT)
#undef TERRACE_CRASH_POINT_CONSTANT
};

struct CrashPointInfo {
  CrashPoint point = CrashPoint::kNone;
  std::string_view name;
  std::string_view meaning;
};

/// All of the daemon's, in the order of the list.
std::span<const CrashPointInfo> CrashPoints() noexcept;
/// All of a client's.
std::span<const CrashPointInfo> ClientCrashPoints() noexcept;

/// "NAME:N", N from 1 on. kInvalid names what is wrong, and every known name when it is the name.
/// `signal`: SIGKILL, or SIGSTOP, after which the process goes on when it is told to (SIGCONT).
Status ArmCrashPoint(std::string_view text, int signal = SIGKILL);

namespace crash_point_internal {
inline std::atomic<CrashPoint> armed{CrashPoint::kNone};
bool Due() noexcept;
}  // namespace crash_point_internal

/// True once: when this point is armed and its time has come. For a place that must do something
/// by halves before it calls CrashNow.
inline bool CrashIsDue(CrashPoint point) noexcept {
  return crash_point_internal::armed.load(std::memory_order_relaxed) == point &&
         crash_point_internal::Due();
}
/// Dies, or stops.
void CrashNow() noexcept;

/// The process dies here when this point is armed and its time has come.
inline void CrashHere(CrashPoint point) noexcept {
  if (CrashIsDue(point)) [[unlikely]]
    CrashNow();
}

}  // namespace terrace

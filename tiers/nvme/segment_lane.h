// SegmentLog::Lane: one device of the slice. For segment_log.cc and segment_lane.cc only.
#pragma once

#include <deque>
#include <set>
#include <vector>

#include "tiers/nvme/segment_log.h"

namespace terrace::nvme {

struct SegmentLog::Lane {
  Lane(Device& the_device, std::uint32_t the_number) : device(the_device), number(the_number) {}

  Device& device;
  const std::uint32_t number;

  // The ring.
  std::vector<std::uint32_t> generations;  // [segment]
  std::uint32_t newest_generation = 0;     // of all segments, at the start
  std::vector<std::uint64_t> begun;        // [segment]: sequence in its header
  std::vector<std::uint32_t> writing;      // [segment]: writes under way (G1)
  std::uint32_t current = 0;
  std::uint64_t next_page = 0;  // free in the current segment
  bool next_ready = false;      // the next segment of the ring may become current
  bool preparing = false;
  std::vector<Event*> wait_for_room;

  // Operations.
  std::multiset<Nanos> started;      // when each operation under way began
  std::uint64_t bytes_to_write = 0;  // under way and waiting, for room too
  std::uint64_t bytes_reading = 0;
  std::uint64_t bytes_writing = 0;
  Nanos next_write_at = 0;  // G5
  Nanos next_read_at = 0;   // G6
  std::vector<Event*> wait_to_write;

  // Syncs: who waits for the round that runs, and for the one after it.
  bool syncing = false;
  // [segment]: what stands below this page was written before a sync that failed, so that no later
  // one can make it durable for certain.
  std::vector<std::uint64_t> doubtful;
  std::vector<std::pair<Event*, Status*>> wait_for_next_sync;

  // Health.
  bool online = true;
  bool probing = false;
  std::deque<Nanos> errors;  // within the window
};

/// Counts an operation under way on a lane.
struct SegmentLog::InFlight {
  InFlight(Lane& the_lane, Nanos now) : lane(the_lane), mark(the_lane.started.insert(now)) {}
  ~InFlight() { lane.started.erase(mark); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

  Lane& lane;
  std::multiset<Nanos>::iterator mark;
};

/// Counts bytes to write on a lane.
struct SegmentLog::ToWrite {
  ToWrite(Lane& the_lane, std::uint64_t the_bytes) : lane(the_lane), bytes(the_bytes) {
    lane.bytes_to_write += bytes;
  }
  ~ToWrite() { lane.bytes_to_write -= bytes; }
  ToWrite(const ToWrite&) = delete;
  ToWrite& operator=(const ToWrite&) = delete;

  Lane& lane;
  const std::uint64_t bytes;
};

}  // namespace terrace::nvme

// A SegmentLog over media in memory that a test can make fail, and records whose bytes follow from
// a seed.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/device_faulty.h"
#include "base/device_sim.h"
#include "base/random.h"
#include "tests/base/simulated_time.h"
#include "tests/tiers/scripted_device.h"
#include "tests/tiers/simulated_store.h"
#include "tiers/nvme/segment_log.h"

namespace terrace::nvme {

using testing::ScriptedDevice;
using testing::SimulatedTime;
using Op = ScriptedDevice::Op;

class SegmentLogTest : public ::testing::Test, public SegmentLog::Owner {
 protected:
  struct Medium {
    Medium(SimulatedDeviceOptions options, Random& random, const FaultyDeviceOptions& faults)
        : device(std::move(options), random), faulty(device, random, faults), scripted(faulty) {
      faulty.Enable(false);
    }
    SimulatedDevice device;
    FaultyDevice faulty;
    ScriptedDevice scripted;
  };
  struct Record {
    Record(std::uint64_t the_seed, std::uint64_t bytes)
        : seed(the_seed),
          header_page(AllocatePages(kPageBytes)),
          payload_pages(AllocatePages((RecordPages(bytes) - 1) * kPageBytes)),
          header(new(header_page.get()) RecordHeader()),
          payload(payload_pages.get(), (RecordPages(bytes) - 1) * kPageBytes) {
      header->payload_bytes = bytes;
      header->namespace_id = 1;
      header->hash = {seed, seed};
    }
    void Fill() {
      SeededRandom random(seed);
      const std::span<std::byte> block = payload.first(header->payload_bytes);
      for (std::size_t at = 0; at < block.size(); at += sizeof(std::uint64_t)) {
        const std::uint64_t word = random.Next();
        std::memcpy(&block[at], &word, std::min(sizeof word, block.size() - at));
      }
      ChecksumBlock(block, std::span(header->checksums).first(ChecksumPieceCount(block.size())));
    }
    std::uint64_t seed;
    Pages header_page;
    Pages payload_pages;
    RecordHeader* header;
    std::span<std::byte> payload;
  };
  struct Placed {
    RecordPlace place;
    std::uint64_t seed = 0;
    std::uint64_t bytes = 0;
  };

  SegmentLogTest() {
    options_.store_id = {7, 8};
    options_.salt = 99;
    options_.segments = 8;
    options_.segment_bytes = 16 * kPageBytes;
  }

  void MakeMedia(std::uint32_t lanes, FaultyDeviceOptions faults = {}) {
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
      media_.emplace_back(
          SimulatedDeviceOptions{.name = "sim:" + std::to_string(lane),
                                 .size_bytes = options_.segments * options_.segment_bytes},
          random_, faults);
    }
    Start();
  }
  /// A log over what the media hold now.
  void Start() {
    std::vector<LaneStart> lanes;
    for (Medium& medium : media_) {
      lanes.push_back({.device = &medium.scripted,
                       .headers = testing::HeadersOn(medium.device, options_,
                                                     static_cast<std::uint32_t>(lanes.size()))});
    }
    log_ = std::make_unique<SegmentLog>(options_, std::move(lanes), *this, time_.scheduler());
  }
  void Stop() {
    if (log_ != nullptr) time_.Run(log_->Close());
    log_.reset();
  }
  void TearDown() override { Stop(); }

  Medium& MediumOf(std::uint32_t lane) { return *std::next(media_.begin(), lane); }
  ScriptedDevice& Script(std::uint32_t lane = 0) { return MediumOf(lane).scripted; }

  /// Appends one record; its place is in `placed` when that went well.
  Task<Status> AppendOne(std::uint64_t seed, std::uint64_t bytes, std::vector<Placed>* placed) {
    Record record(seed, bytes);
    record.Fill();
    const Result<RecordPlace> place =
        co_await log_->Append(record.header, record.payload, SegmentLog::Room::kWait);
    if (place.ok()) placed->push_back({.place = *place, .seed = seed, .bytes = bytes});
    co_return place.status();
  }
  Placed Append(std::uint64_t seed, std::uint64_t bytes = 3 * kPageBytes) {
    std::vector<Placed> placed;
    const Status status = time_.Run(AppendOne(seed, bytes, &placed));
    EXPECT_TRUE(status.ok()) << status.ToString();
    return placed.empty() ? Placed{} : placed[0];
  }
  /// Reads, and fails the test when it gives other bytes than were appended.
  Task<Status> ReadOne(Placed placed) {
    Record found(placed.seed, placed.bytes);
    Record expected(placed.seed, placed.bytes);
    expected.Fill();
    const Status status = co_await log_->Read(placed.place, found.header, found.payload);
    if (status.ok()) {
      const auto bytes = found.payload.first(placed.bytes);
      EXPECT_TRUE(std::ranges::equal(bytes, expected.payload.first(placed.bytes)))
          << "wrong bytes of record " << placed.seed;
      EXPECT_EQ(found.header->hash[0], placed.seed);
    }
    co_return status;
  }
  StatusCode Read(const Placed& placed) { return time_.Run(ReadOne(placed)).code(); }

  Task<void> Reclaim(std::uint32_t segment) override {
    reclaimed_.push_back(segment);
    co_return;
  }
  void OnLane(std::uint32_t lane, bool online, const std::string& why) override {
    changes_.push_back(std::to_string(lane) + (online ? " online: " : " offline: ") + why);
  }

  SimulatedTime time_;
  SeededRandom random_{1};
  SegmentLogOptions options_;
  std::list<Medium> media_;
  std::unique_ptr<SegmentLog> log_;
  std::vector<std::uint32_t> reclaimed_;
  std::vector<std::string> changes_;
};

}  // namespace terrace::nvme

// Data messages must put the bytes that were sent where they belong, or call the block corrupt.

#include "base/check.h"
#include "base/checksum.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/tcp/block_receiver.h"

namespace terrace::fuzz {
namespace {

/// Of two messages.
constexpr std::size_t kBlockBytes = 300'000;

/// Such a block takes 100 times as long as one of 4 KiB, and shows little that the short one does
/// not: one in 16 of the inputs that ask for it, whichever those are.
bool MayBeLong(std::span<const std::byte> bytes) { return Checksum64(bytes) % 16 == 0; }

std::span<const std::byte> Source() {
  static const Bytes source = [] {
    Bytes bytes(kBlockBytes + kDataPayloadMax + 1);
    std::uint32_t state = 1;
    for (std::byte& byte : bytes) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
  }();
  return source;
}

/// What a message carries; the receiver must believe none of it.
DataHeader Claim(Input& input, const DataHeader& honest) {
  DataHeader header = honest;
  switch (input.Byte() % 8) {
    case 0: header.offset = input.Wild(); break;
    case 1: header.block_bytes = input.Wild(); break;
    case 2: header.length = input.Take<std::uint32_t>(); break;
    case 3: header.kind = static_cast<DataKind>(input.Take<std::uint32_t>()); break;
    case 4: header.reserved = input.Byte(); break;
    case 5: header.checksum ^= std::uint64_t{1} << (input.Byte() % 64); break;
    case 6: {
      auto raw = input.First(sizeof(DataHeader));
      std::memcpy(&header, raw.data(), raw.size());
      break;
    }
    default: break;
  }
  return header;
}

/// Only a payload that fits the block is looked at so closely that its checksums matter.
DataHeader Honest(std::size_t block, std::size_t offset, std::span<const std::byte> payload) {
  DataHeader header;
  header.offset = offset;
  header.block_bytes = block;
  header.length = static_cast<std::uint32_t>(payload.size());
  if (offset + payload.size() <= block) header.checksum = Checksum64(payload);
  return header;
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  // Most blocks are short, so that the fuzzer is fast; some have several messages.
  const bool wanted = input.Byte() == 255;
  const std::size_t block = wanted && MayBeLong(bytes) ? kBlockBytes - input.Byte()
                                                       : 1 + input.Take<std::uint16_t>() % 4096U;
  Bytes destination(block);
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(block));
  const PieceMemory::Piece whole(destination);
  BlockReceiver receiver({&whole, 1}, checksums);
  std::size_t sent = 0;  // of the honest story
  bool honest = true;
  for (int messages = 0; messages < 16 && !input.empty(); ++messages) {
    const std::size_t left = block - std::min(sent, block);
    std::size_t length = std::min(left, kDataPayloadMax);
    if (input.Flag()) length = std::min<std::size_t>(input.Wild(), kDataPayloadMax + 1);
    const auto payload = Source().subspan(sent, length);
    const auto capped = payload.first(std::min(length, kDataPayloadMax));
    const DataHeader header = Claim(input, Honest(block, sent, capped));
    DataHeader read;
    if (!ReadDataHeader(DataHeaderBytes(header), read)) {
      TERRACE_CHECK(
          !ReadDataHeader(DataHeaderBytes(header).first(input.Byte() % sizeof(DataHeader)), read));
      continue;
    }
    TERRACE_CHECK(read.length <= kControlBytesMax);
    // The stream takes as many bytes as the header says, whatever was meant.
    if (read.kind != DataKind::kBlock || read.length != payload.size()) continue;
    TERRACE_CHECK(read.offset + payload.size() <= read.block_bytes && !payload.empty() &&
                  payload.size() <= kDataPayloadMax);
    const auto before = receiver.state();
    const auto state = receiver.Take(read, payload);
    if (before != BlockReceiver::State::kWaiting) {
      TERRACE_CHECK(state == before);
      continue;
    }
    honest = honest && read.offset == sent;
    sent += payload.size();
    if (state == BlockReceiver::State::kCorrupt) return;
    TERRACE_CHECK(honest && sent <= block);
    TERRACE_CHECK((state == BlockReceiver::State::kWhole) == (sent == block));
  }
  if (receiver.state() != BlockReceiver::State::kWhole) return;
  TERRACE_CHECK(std::memcmp(destination.data(), Source().data(), block) == 0);
  TERRACE_CHECK(VerifyBlock(destination, checksums));
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  Output brief;
  brief.Byte(0).Put(std::uint16_t{1000}).Byte(0).Byte(7);
  seeds.push_back(brief.Take());
  Bytes longer;
  for (unsigned shorter = 0; longer.empty() || !MayBeLong(longer); ++shorter) {
    longer = Output().Byte(255).Byte(shorter).Byte(0).Byte(7).Byte(0).Byte(7).Take();
  }
  seeds.push_back(longer);
  for (unsigned lie = 0; lie < 7; ++lie) {
    Output liar;
    liar.Byte(0).Put(std::uint16_t{1000}).Byte(0).Byte(lie).Put(std::uint64_t{5}).Byte(0).Byte(7);
    seeds.push_back(liar.Take());
  }
  return seeds;
}

}  // namespace

const Target kDataMessageTarget{.name = "data_message", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz

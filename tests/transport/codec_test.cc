#include "transport/codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/random.h"
#include "transport/tcp/data_message.h"

namespace terrace {
namespace {

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// A message that uses every kind of field: strings, vectors, structs, tables in tables.
std::vector<std::byte> BigMessage() {
  return BuildMessage<wire::Get>({7, 8, 9}, [](flatbuffers::FlatBufferBuilder& builder) {
    const std::string first(32, 'a');
    const std::string second(64, 'b');
    const std::string third(1, 'c');
    KeyRun run;
    run.placement = Bytes(first);
    run.first_position = 3;
    run.parent = Bytes(third);
    run.keys = {Bytes(first), Bytes(second), Bytes(third)};
    const auto wire_run = BuildRun(builder, run);
    const auto runs = builder.CreateVector(&wire_run, 1);
    const std::vector<wire::Piece> pieces = {{1, 0, 2, 3}, {4, 0, 5, 6}, {7, 0, 8, 9}};
    const auto piece_vector = builder.CreateVectorOfStructs(pieces);
    const std::vector<std::uint16_t> counts = {1, 1, 1};
    const auto count_vector = builder.CreateVector(counts);
    return wire::CreateGet(builder, 1, 2, 3, runs, piece_vector, count_vector);
  });
}

TEST(CodecTest, AMessageComesBackAsItWasBuilt) {
  const auto bytes = BigMessage();
  const auto message = VerifyMessage(bytes);
  ASSERT_TRUE(message.ok()) << message.status().ToString();
  EXPECT_EQ((*message)->request_id(), 7u);
  EXPECT_EQ((*message)->incarnation(), 8u);
  EXPECT_EQ((*message)->budget_us(), 9u);
  const wire::Get* get = (*message)->body_as_Get();
  ASSERT_NE(get, nullptr);
  const auto runs = ReadRuns(get->runs(), 3);
  ASSERT_TRUE(runs.ok()) << runs.status().ToString();
  ASSERT_EQ(runs->size(), 1u);
  EXPECT_EQ((*runs)[0].first_position, 3u);
  ASSERT_EQ((*runs)[0].keys.size(), 3u);
  EXPECT_EQ((*runs)[0].keys[1].size(), 64u);
  EXPECT_EQ((*runs)[0].keys[2][0], std::byte{'c'});
  EXPECT_EQ(get->pieces()->Get(2)->length(), 9u);
}

TEST(CodecTest, HintsComeBackAsTheyWereSaidAndAreAbsentWhereNothingWas) {
  const RequestHints hints{
      .session = "s", .category = "chat", .turn = 3, .continuation = Continuation::kWillContinue};
  const auto told = BuildMessage<wire::Ping>({.request_id = 1, .hints = &hints});
  const auto message = VerifyMessage(told);
  ASSERT_TRUE(message.ok()) << message.status().ToString();
  const wire::Hints* read = (*message)->hints();
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(TextOf(read->session()), "s");
  EXPECT_EQ(TextOf(read->category()), "chat");
  EXPECT_EQ(read->turn(), 3U);
  EXPECT_EQ(read->continuation(), 1U);
  const RequestHints nothing;
  const auto silent = BuildMessage<wire::Ping>({.request_id = 1, .hints = &nothing});
  EXPECT_EQ((*VerifyMessage(silent))->hints(), nullptr);
  EXPECT_EQ(silent, BuildMessage<wire::Ping>({.request_id = 1})) << "no byte more than before";
}

TEST(CodecTest, AMessageCutAnywhereDoesNotVerify) {
  const auto bytes = BigMessage();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    // A copy of exactly that length, so that a sanitizer sees a read behind it.
    const std::vector<std::byte> cut(bytes.begin(),
                                     bytes.begin() + static_cast<std::ptrdiff_t>(length));
    const auto message = VerifyMessage(cut);
    // Cutting padding at the end may leave a whole message; it must then be readable.
    if (message.ok() && (*message)->body_as_Get() != nullptr) {
      (void)ReadRuns((*message)->body_as_Get()->runs(), 100);
    }
    if (length + 8 < bytes.size() / 2) {
      EXPECT_FALSE(message.ok()) << length;
    }
  }
}

TEST(CodecTest, FlippedBitsNeverReadOutsideTheMessage) {
  const std::uint64_t seed = 20240801;
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  const auto bytes = BigMessage();
  int verified = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> bad = bytes;
    const std::uint64_t flips = random.Between(1, 8);
    for (std::uint64_t i = 0; i < flips; ++i) {
      bad[random.Below(bad.size())] ^= std::byte{static_cast<unsigned char>(random.Next() | 1)};
    }
    const auto message = VerifyMessage(bad);
    if (!message.ok()) continue;
    ++verified;
    (void)BodyName((*message)->body_type());
    if (const wire::Get* get = (*message)->body_as_Get()) {
      (void)ReadRuns(get->runs(), 100);
      if (get->pieces() != nullptr) {
        for (const wire::Piece* piece : *get->pieces()) (void)piece->length();
      }
    }
    if (const auto* error = (*message)->body_as_ErrorReply()) (void)StatusOf(*error);
  }
  EXPECT_GT(verified, 0);
}

TEST(CodecTest, RandomBytesDoNotVerify) {
  SeededRandom random(99);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> noise(random.Below(512));
    for (auto& byte : noise) byte = std::byte{static_cast<unsigned char>(random.Next())};
    EXPECT_FALSE(VerifyMessage(noise).ok());
  }
}

TEST(CodecTest, AnErrorKeepsCodeAndText) {
  const auto bytes = BuildError({1, 2, 0}, Status(StatusCode::kRetry, "no frame is free"));
  const auto message = VerifyMessage(bytes);
  ASSERT_TRUE(message.ok());
  const Status status = StatusOf(*(*message)->body_as_ErrorReply());
  EXPECT_EQ(status.code(), StatusCode::kRetry);
  EXPECT_EQ(status.message(), "no frame is free");
}

TEST(CodecTest, ACodeFromTheFutureIsAnInternalError) {
  for (const int code : {0, kStatusCodeCount, 255}) {
    const auto bytes =
        BuildMessage<wire::ErrorReply>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
          return wire::CreateErrorReply(builder, static_cast<std::uint8_t>(code));
        });
    EXPECT_EQ(StatusOf(*(*VerifyMessage(bytes))->body_as_ErrorReply()).code(),
              StatusCode::kInternal);
  }
}

/// Reads the runs of a message whose one run is made of raw parts.
Status ReadRawRun(const std::string& placement, const std::string& keys,
                  const std::vector<std::uint8_t>& lengths, std::size_t keys_max = 10) {
  const auto bytes = BuildMessage<wire::Match>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
    const auto run =
        wire::CreateRun(builder, BuildBytes(builder, Bytes(placement)), 0, 0,
                        BuildBytes(builder, Bytes(keys)), builder.CreateVector(lengths));
    return wire::CreateMatch(builder, 1, 0, 0, builder.CreateVector(&run, 1));
  });
  const auto message = VerifyMessage(bytes);
  if (!message.ok()) return message.status();
  return ReadRuns((*message)->body_as_Match()->runs(), keys_max).status();
}

TEST(CodecTest, LengthsOfKeysThatLieAreInvalid) {
  EXPECT_TRUE(ReadRawRun("p", "abc", {1, 2}).ok());
  EXPECT_EQ(ReadRawRun("p", "abc", {1, 3}).code(), StatusCode::kInvalid);  // beyond the end
  EXPECT_EQ(ReadRawRun("p", "abc", {1, 1}).code(), StatusCode::kInvalid);  // bytes left
  EXPECT_EQ(ReadRawRun("p", "abc", {0, 3}).code(), StatusCode::kInvalid);  // empty key
  EXPECT_EQ(ReadRawRun("p", "", {}).code(), StatusCode::kInvalid);         // no keys
  EXPECT_EQ(ReadRawRun("", "abc", {3}).code(), StatusCode::kInvalid);      // no placement
  EXPECT_EQ(ReadRawRun(std::string(65, 'p'), "abc", {3}).code(), StatusCode::kInvalid);
  EXPECT_EQ(ReadRawRun("p", std::string(65, 'k'), {65}).code(), StatusCode::kInvalid);
  EXPECT_EQ(ReadRawRun("p", "abc", {1, 1, 1}, 2).code(), StatusCode::kInvalid);  // too many
}

TEST(DataMessageTest, AHeaderThatContradictsItselfIsNone) {
  DataHeader good;
  good.token = 1;
  good.block_bytes = kDataPayloadMax + 1000;
  good.offset = kDataPayloadMax;
  good.length = 1000;
  DataHeader read;
  ASSERT_TRUE(ReadDataHeader(DataHeaderBytes(good), read));
  EXPECT_EQ(read.length, 1000u);
  const auto refused = [&](auto change) {
    DataHeader bad = good;
    change(bad);
    return !ReadDataHeader(DataHeaderBytes(bad), read);
  };
  EXPECT_TRUE(refused([](DataHeader& h) { h.length = 999; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.length = 1001; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.length = 0; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.offset = 1; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.offset = 0; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.offset = 2 * kDataPayloadMax; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.offset = ~std::uint64_t{0} << 18; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.block_bytes = kDataPayloadMax + 999; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.reserved = 2; }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.kind = static_cast<DataKind>(0); }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.kind = static_cast<DataKind>(77); }));
  EXPECT_TRUE(refused([](DataHeader& h) { h.kind = DataKind::kPull; }));
  EXPECT_TRUE(refused([](DataHeader& h) {
    h.kind = DataKind::kControl;
    h.length = kControlBytesMax + 1;
  }));
  EXPECT_FALSE(refused([](DataHeader& h) { h.kind = DataKind::kControl; }));
  EXPECT_FALSE(ReadDataHeader(DataHeaderBytes(good).first(40), read));
}

}  // namespace
}  // namespace terrace

// A device that is not certainly ours must be refused, with file and cause, and stay as it is.
#include "tiers/nvme/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/tiers/store_on_disk.h"

namespace terrace::nvme {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint64_t kMebibyte = 1 << 20;

class StoreTest : public testing::Test {
 protected:
  /// One slice and 16 segments of 64 KiB on each of `devices`.
  StoreOptions Options(std::size_t devices = 1) {
    StoreOptions options;
    options.folder = folder_.path();
    for (std::size_t device = 0; device < devices; ++device) {
      options.files.push_back(folder_.Path("log-" + std::to_string(device)));
    }
    options.capacity_bytes = devices * 2 * kMebibyte;
    options.slices = 1;
    options.segment_bytes = 64 << 10;
    options.now_unix_s = 1234;
    return options;
  }
  /// Opens and closes it. The warnings.
  std::vector<std::string> MakeAndClose(const StoreOptions& options) {
    const auto store = OpenStore(options);
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return store.ok() ? store->warnings : std::vector<std::string>{};
  }
  std::string All(const std::string& name) {
    return ReadBytes(folder_.Path(name), 0, std::filesystem::file_size(folder_.Path(name)));
  }
  /// Refused with the code, words of the message, and not a byte of log-0 changed.
  void ExpectRefused(const StoreOptions& options, StatusCode code, const std::string& words,
                     const std::string& file = "log-0") {
    const std::string before = All("log-0");
    const auto store = OpenStore(options);
    ASSERT_FALSE(store.ok()) << words;
    EXPECT_EQ(store.code(), code) << store.status().ToString();
    EXPECT_THAT(store.status().message(), HasSubstr(words));
    EXPECT_THAT(store.status().message(), HasSubstr(folder_.Path(file)));
    EXPECT_TRUE(All("log-0") == before) << "changed: " << words;
  }

  TestFolder folder_;
};

TEST_F(StoreTest, MakesAStoreAndRecognisesIt) {
  Superblock made;
  {
    const auto store = OpenStore(Options(2));
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    EXPECT_TRUE(store->made_new);
    EXPECT_THAT(store->files, SizeIs(2));
    EXPECT_THAT(store->warnings, IsEmpty());
    made = store->superblock;
  }
  EXPECT_TRUE(Check(made).ok());
  EXPECT_EQ(made.devices, 2U);
  EXPECT_EQ(made.segments, 16U);
  EXPECT_EQ(made.created_unix_s, 1234U);
  EXPECT_NE(made.salt, 0U);
  EXPECT_EQ(ReadBytes(folder_.Path("log-0"), 0, kPageBytes),
            ReadBytes(folder_.Path("log-0"), kPageBytes, kPageBytes));
  const auto again = OpenStore(Options(2));
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_FALSE(again->made_new);
  EXPECT_THAT(again->warnings, IsEmpty());
  EXPECT_EQ(again->superblock.store_id, made.store_id);
  EXPECT_EQ(again->superblock.salt, made.salt);
}

TEST_F(StoreTest, MakesFolderAndFileWhereNoneIsNamed) {
  StoreOptions options = Options(0);
  options.folder = folder_.Path("new");
  options.capacity_bytes = 2 * kMebibyte;
  MakeAndClose(options);
  EXPECT_TRUE(std::filesystem::exists(folder_.Path("new/log-0")));
}

TEST_F(StoreTest, TwoStoresAreNeverTheSame) {
  StoreOptions other = Options(0);
  other.folder = folder_.Path("other");
  other.capacity_bytes = 2 * kMebibyte;
  const auto first = OpenStore(Options());
  const auto second = OpenStore(other);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->superblock.store_id, second->superblock.store_id);
  EXPECT_NE(first->superblock.salt, second->superblock.salt);
}

TEST_F(StoreTest, TakesAnEmptyFileAndOneOfZeros) {
  WriteBytes(folder_.Path("log-0"), 0, "");
  MakeAndClose(Options());
  std::filesystem::remove(folder_.Path("log-0"));
  WriteBytes(folder_.Path("log-0"), 3 * kMebibyte - 1, std::string(1, '\0'));
  StoreOptions options = Options();
  options.capacity_bytes = 0;
  const auto store = OpenStore(options);
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  EXPECT_TRUE(store->made_new);
  EXPECT_EQ(store->superblock.segments, 32U);
}

TEST_F(StoreTest, RefusesWhatSomebodyElseWroteAndLeavesItAlone) {
  WriteBytes(folder_.Path("log-0"), 2 * kMebibyte, "x");
  WriteBytes(folder_.Path("log-0"), 512, "EFI PART");
  ExpectRefused(Options(), StatusCode::kInvalid,
                "holds something else; remove it or name another file");
  WriteBytes(folder_.Path("log-0"), 512, std::string(8, '\0'));
  WriteBytes(folder_.Path("log-0"), 2 * kPageBytes - 1, "x");
  ExpectRefused(Options(), StatusCode::kInvalid, "holds something else");
}

TEST_F(StoreTest, NeverMendsAFirstPageThatIsNoLongerOurs) {
  MakeAndClose(Options());
  WriteBytes(folder_.Path("log-0"), 0, std::string(446, 'M'));  // a partition table over page 0
  ExpectRefused(Options(), StatusCode::kInvalid, "page 0 holds something else");
}

TEST_F(StoreTest, NamesBothVersionsOfAnotherFormat) {
  MakeAndClose(Options());
  // Another version has another checksum too; a version alone that differs is a flipped bit.
  WriteBytes(folder_.Path("log-0"), 8, "\x02");
  WriteBytes(folder_.Path("log-0"), 16, "\x7f");
  ExpectRefused(Options(), StatusCode::kIncompatible, "format version 2, this program reads 1");
  WriteBytes(folder_.Path("log-0"), kPageBytes + 8, "\x03");
  WriteBytes(folder_.Path("log-0"), kPageBytes + 16, "\x7f");
  WriteBytes(folder_.Path("log-0"), 8, "\x03");
  ExpectRefused(Options(), StatusCode::kIncompatible, "format version 3, this program reads 1");
}

TEST_F(StoreTest, RefusesTooSmallAndMakesNoFile) {
  StoreOptions options = Options();
  options.segment_bytes = 0;
  const auto store = OpenStore(options);
  EXPECT_EQ(store.code(), StatusCode::kInvalid);
  EXPECT_THAT(store.status().message(), HasSubstr("log-0: too small"));
  EXPECT_THAT(store.status().message(), HasSubstr(std::to_string(9 * kMebibyte)));
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("log-0")));
  options.capacity_bytes = 0;
  EXPECT_THAT(OpenStore(options).status().message(), HasSubstr("no capacity"));
}

TEST_F(StoreTest, RefusesAStoreThatWasCutOff) {
  MakeAndClose(Options());
  std::filesystem::resize_file(folder_.Path("log-0"), 2 * kMebibyte - kPageBytes);
  ExpectRefused(Options(), StatusCode::kInvalid, "too small");
}

TEST_F(StoreTest, RefusesADeviceThatIsInUse) {
  const auto first = OpenStore(Options());
  ASSERT_TRUE(first.ok());
  ExpectRefused(Options(), StatusCode::kRetry, "in use by another process");
}

TEST_F(StoreTest, RefusesAnotherNumberOfReactors) {
  StoreOptions options = Options();
  options.segment_bytes = 16 << 10;
  options.slices = 2;
  MakeAndClose(options);
  options.slices = 1;
  ExpectRefused(options, StatusCode::kInvalid, "made for 2 reactors, started with 1");
  options.slices = 0;
  EXPECT_TRUE(OpenStore(options).ok());
}

TEST_F(StoreTest, RefusesOtherDevicesThanThoseItWasMadeOf) {
  MakeAndClose(Options(2));
  StoreOptions one = Options(1);
  ExpectRefused(one, StatusCode::kInvalid, "belongs to a store of 2 devices, started with 1");
  StoreOptions swapped = Options(2);
  std::swap(swapped.files[0], swapped.files[1]);
  ExpectRefused(swapped, StatusCode::kInvalid, "is device 1 of its store, named as 0", "log-1");
  StoreOptions twice = Options(2);
  twice.files[1] = twice.files[0];
  ExpectRefused(twice, StatusCode::kInvalid, "named twice");
  StoreOptions more = Options(3);
  ExpectRefused(more, StatusCode::kInvalid, "is empty, but", "log-2");
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("log-2")));
}

TEST_F(StoreTest, RefusesADeviceOfAnotherStore) {
  MakeAndClose(Options(2));
  const std::string kept = All("log-1");
  std::filesystem::remove(folder_.Path("log-0"));
  std::filesystem::remove(folder_.Path("log-1"));
  MakeAndClose(Options(2));
  WriteBytes(folder_.Path("log-1"), 0, kept);
  ExpectRefused(Options(2), StatusCode::kInvalid, "belongs to another store", "log-1");
}

TEST_F(StoreTest, MendsADamagedSuperblockFromItsCopy) {
  MakeAndClose(Options());
  const std::string good = All("log-0");
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{12},
                                     std::uint64_t{60}, std::uint64_t{4000}, std::uint64_t{4095}}) {
    FlipBit(folder_.Path("log-0"), offset);
    EXPECT_THAT(MakeAndClose(Options()), testing::ElementsAre(HasSubstr("superblock (page 0)")));
    EXPECT_TRUE(All("log-0") == good);
    FlipBit(folder_.Path("log-0"), kPageBytes + offset);
    EXPECT_THAT(MakeAndClose(Options()), testing::ElementsAre(HasSubstr("copy (page 1)")));
    EXPECT_TRUE(All("log-0") == good);
  }
  // Power was lost between the copy and the superblock.
  WriteBytes(folder_.Path("log-0"), 0, std::string(kPageBytes, '\0'));
  EXPECT_THAT(MakeAndClose(Options()), SizeIs(1));
  EXPECT_TRUE(All("log-0") == good);
}

TEST_F(StoreTest, AStoreWhoseMakingWasCutShortIsMadeAgain) {
  for (const std::size_t made : {1U, 2U}) {  // of three devices, from the last on
    MakeAndClose(Options(3));
    for (std::size_t device = 0; device < 3 - made; ++device) {
      WriteBytes(folder_.Path("log-" + std::to_string(device)), 0,
                 std::string(2 * kPageBytes, '\0'));
    }
    StoreOptions looking = Options(3);
    looking.read_only = true;
    ExpectRefused(looking, StatusCode::kInvalid, "is empty, but");
    const auto store = OpenStore(Options(3));
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    EXPECT_TRUE(store->made_new);
    EXPECT_THAT(store->files, SizeIs(3));
  }
  EXPECT_THAT(MakeAndClose(Options(3)), IsEmpty()) << "all of one store now";
}

TEST_F(StoreTest, AnEmptyDeviceAmongThoseOfAStoreWithBlocksIsRefused) {
  {
    StoreOnDisk disk(folder_.path(), SmallGeometry(2, 1));
    disk.Begin(1, 0, 0);
  }
  WriteBytes(folder_.Path("log-0"), 0, std::string(2 * kPageBytes, '\0'));
  ExpectRefused(Options(2), StatusCode::kInvalid, "is empty, but");
}

TEST_F(StoreTest, AnEmptyDeviceBehindThoseOfAStoreIsRefused) {
  MakeAndClose(Options(2));
  WriteBytes(folder_.Path("log-1"), 0, std::string(2 * kPageBytes, '\0'));
  ExpectRefused(Options(2), StatusCode::kInvalid, "is empty, but", "log-1");
}

TEST_F(StoreTest, RefusesWhenSuperblockAndCopyAreDamaged) {
  MakeAndClose(Options());
  FlipBit(folder_.Path("log-0"), 100);
  FlipBit(folder_.Path("log-0"), kPageBytes + 200);
  ExpectRefused(Options(), StatusCode::kCorrupt, "both damaged");
}

TEST_F(StoreTest, MendsNothingBeforeEveryDeviceIsKnownToBeOurs) {
  MakeAndClose(Options(2));
  FlipBit(folder_.Path("log-0"), 100);
  StoreOptions options = Options(2);
  options.slices = 2;
  ExpectRefused(options, StatusCode::kInvalid, "started with 2");
}

TEST_F(StoreTest, ReadOnlyMakesAndMendsNothing) {
  StoreOptions options = Options();
  options.read_only = true;
  EXPECT_EQ(OpenStore(options).code(), StatusCode::kMiss);
  EXPECT_FALSE(std::filesystem::exists(folder_.Path("log-0")));
  MakeAndClose(Options());
  FlipBit(folder_.Path("log-0"), 100);
  const std::string before = All("log-0");
  EXPECT_THAT(MakeAndClose(options), SizeIs(1));
  EXPECT_TRUE(All("log-0") == before);
}

TEST_F(StoreTest, KeepsItsSizeWhenTheConfigurationNamesAnother) {
  MakeAndClose(Options());
  StoreOptions options = Options();
  options.capacity_bytes = 4 * kMebibyte;
  options.segment_bytes = 128 << 10;
  const auto store = OpenStore(options);
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  EXPECT_EQ(store->superblock.segments, 16U);
  EXPECT_EQ(store->files[0].size(), 2 * kMebibyte);
  ASSERT_THAT(store->warnings, SizeIs(2));
  EXPECT_THAT(store->warnings[0], HasSubstr("segments of 65536 bytes"));
  EXPECT_THAT(store->warnings[1], HasSubstr("not 4194304"));
}

TEST_F(StoreTest, RefusesBlocksThatItsSegmentsCannotHold) {
  MakeAndClose(Options());
  StoreOptions options = Options();
  options.block_bytes_max = (64 << 10) - 2 * kPageBytes;
  EXPECT_THAT(MakeAndClose(options), IsEmpty());
  ++options.block_bytes_max;
  ExpectRefused(options, StatusCode::kInvalid, "made for blocks of up to 57344 bytes");
}

TEST_F(StoreTest, ASegmentHeaderThatDoesNotVerifyIsOfGenerationZero) {
  StoreOnDisk disk(folder_.path(), SmallGeometry(2, 2));
  disk.sequence = 41;
  for (const std::uint32_t segment : {0U, 1U, 2U, 5U}) disk.Begin(1, 1, segment, 6);
  const std::uint64_t slice = disk.geometry().SliceOffset(1);
  FlipBit(disk.File(1), slice + 2000);  // segment 0
  // A header that stands elsewhere is none.
  WriteBytes(disk.File(1), disk.geometry().SegmentOffset(1, 3),
             ReadBytes(disk.File(1), disk.geometry().SegmentOffset(1, 2), kPageBytes));
  StoreOptions options = Options(2);
  options.slices = 0;
  const auto store = OpenStore(options);
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  std::vector<SegmentHeader> headers;
  ASSERT_TRUE(ReadSegmentHeaders(store->files[1], store->superblock, 1, 1, headers).ok());
  ASSERT_THAT(headers, SizeIs(8));
  std::vector<std::uint32_t> generations;
  for (const SegmentHeader& header : headers) generations.push_back(header.generation);
  EXPECT_THAT(generations, testing::ElementsAre(0, 6, 6, 0, 0, 6, 0, 0));
  EXPECT_EQ(headers[5].sequence, 40U);
  ASSERT_TRUE(ReadSegmentHeaders(store->files[0], store->superblock, 0, 1, headers).ok());
  for (const SegmentHeader& header : headers) EXPECT_EQ(header.generation, 0U);
}

}  // namespace
}  // namespace terrace::nvme

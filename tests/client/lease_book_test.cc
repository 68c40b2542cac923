#include "client/request/lease_book.h"

#include <gtest/gtest.h>

namespace terrace {
namespace {

TEST(LeaseBook, ALeaseThatIsNoneOfThisClientsIsInvalidAndAnEndedOneExpired) {
  LeaseBook book(1);
  LeaseBook other(2);
  const LeaseId lease =
      book.Add({.epoch = 1, .until = 100, .parts = {{.shard = 0, .lease = 5}}}, 0);
  EXPECT_NE(lease.value, 0u);
  EXPECT_EQ(book.Find(lease, 99)->parts[0].lease, 5u);
  for (const LeaseId wrong : {LeaseId{}, LeaseId{lease.value + 1}}) {
    EXPECT_EQ(book.Find(wrong, 0).code(), StatusCode::kInvalid);
    EXPECT_NE(book.Find(wrong, 0).status().message().find("lease: "), std::string::npos);
  }
  EXPECT_EQ(other.Find(lease, 0).code(), StatusCode::kInvalid);
  EXPECT_EQ(book.Find(lease, 100).code(), StatusCode::kExpired);
  EXPECT_EQ(book.Take(lease, 100).code(), StatusCode::kExpired);
}

TEST(LeaseBook, WhatIsTakenHasEndedAndWhatIsExtendedLastsLonger) {
  LeaseBook book(1);
  const LeaseId one = book.Add({.epoch = 1, .until = 100, .parts = {}}, 0);
  const LeaseId two = book.Add({.epoch = 1, .until = 100, .parts = {}}, 0);
  book.Extend(one, 200);
  EXPECT_TRUE(book.Take(two, 50).ok());
  EXPECT_EQ(book.Take(two, 50).code(), StatusCode::kExpired);
  EXPECT_TRUE(book.Find(one, 150).ok());
  EXPECT_EQ(book.Find(one, 200).code(), StatusCode::kExpired);
  book.Extend(one, 300);  // too late
  EXPECT_EQ(book.Find(one, 250).code(), StatusCode::kExpired);
}

}  // namespace
}  // namespace terrace

#include "client/request/namespace_table.h"

#include <gtest/gtest.h>

namespace terrace {
namespace {

NamespaceDescriptor Named(const char* name) {
  NamespaceDescriptor descriptor;
  descriptor.name = name;
  descriptor.block_tokens = 16;
  descriptor.groups = {{.id = 3, .attention = "full", .block_bytes = 8192}};
  return descriptor;
}

TEST(NamespaceTable, CallersIdStaysWhenTheDaemonsChanges) {
  NamespaceTable table;
  const NamespaceId first = table.Opened(Named("a"), 1, 70).value();
  const NamespaceId second = table.Opened(Named("b"), 1, 71).value();
  EXPECT_NE(first.value, second.value);
  EXPECT_EQ(table.Opened(Named("a"), 2, 5).value().value, first.value);
  EXPECT_EQ(table.Find(first)->daemon_id, 5U);
  EXPECT_EQ(table.Find(first)->epoch, 2U);
  EXPECT_EQ(table.Find(second)->epoch, 1U) << "not opened in the new session yet";
  EXPECT_EQ(table.Find(first)->BlockBytes(3), 8192U);
  EXPECT_EQ(table.Find(first)->BlockBytes(4), 0U);
}

TEST(NamespaceTable, KeepsWhyADaemonRefusedAndForgetsItWhenOneAccepts) {
  NamespaceTable table;
  const NamespaceId id = table.Opened(Named("a"), 1, 70).value();
  table.Refused(id, 2, Status(StatusCode::kIncompatible, "fingerprints differ"));
  EXPECT_EQ(table.Find(id)->failure.code(), StatusCode::kIncompatible);
  EXPECT_EQ(table.Find(id)->daemon_id, 0U);
  ASSERT_TRUE(table.Opened(Named("a"), 3, 9).ok());
  EXPECT_TRUE(table.Find(id)->failure.ok());
}

TEST(NamespaceTable, UnknownIdsAreInvalid) {
  NamespaceTable table;
  EXPECT_EQ(table.Find({0}).code(), StatusCode::kInvalid);
  EXPECT_EQ(table.Find({1}).code(), StatusCode::kInvalid);
  EXPECT_NE(table.Find({17}).status().message().find("17"), std::string::npos);
}

}  // namespace
}  // namespace terrace

// A client of the C interface and a FakeDaemon that it is connected to.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client/terrace.h"
#include "tests/client/fake_daemon.h"

namespace terrace::testing {

inline constexpr std::uint64_t kBytes = 64 << 10;
inline terrace_deadline InSomeTime() { return terrace_in_ms(20000); }

class CApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string address = daemon_.address();
    terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
    options.address = address.c_str();
    options.connect_timeout_ms = 20000;
    ASSERT_EQ(terrace_connect(&options, &client_, &error_), TERRACE_OK) << error_.message;
    terrace_group group{};
    group.block_bytes = kBytes;
    terrace_descriptor descriptor = TERRACE_DESCRIPTOR_INIT;
    descriptor.name = "c";
    descriptor.block_tokens = 16;
    descriptor.groups = &group;
    descriptor.group_count = 1;
    ASSERT_EQ(terrace_open_namespace(client_, &descriptor, InSomeTime(), &space_, &error_),
              TERRACE_OK)
        << error_.message;
    ASSERT_EQ(terrace_chain_new(&chain_, &error_), TERRACE_OK);
    ASSERT_EQ(terrace_chain_append(chain_, "keys", 1, 4, &error_), TERRACE_OK) << error_.message;
    memory_.resize(4 * kBytes);
    ASSERT_EQ(terrace_register_memory(client_, memory_.data(), memory_.size(), &region_, &error_),
              TERRACE_OK);
  }
  void TearDown() override {
    terrace_chain_free(chain_, nullptr);
    terrace_close(client_, nullptr);
  }

  terrace_block Block(std::uint32_t position) const {
    return {position, region_, position * kBytes, 0, 0};
  }
  /// The last call was refused with kInvalid, and its message holds `text`.
  void ExpectInvalid(terrace_status status, const std::string& text) {
    EXPECT_EQ(status, TERRACE_INVALID) << text;
    EXPECT_EQ(error_.status, TERRACE_INVALID) << text;
    EXPECT_NE(std::string(error_.message).find(text), std::string::npos)
        << "'" << error_.message << "' does not say '" << text << "'";
  }

  FakeDaemon daemon_;
  terrace_error error_{};
  terrace_client client_ = 0;
  terrace_space space_ = 0;
  terrace_chain chain_ = 0;
  terrace_region region_ = 0;
  terrace_block_result results_[4]{};
  std::vector<std::byte> memory_;
};

}  // namespace terrace::testing

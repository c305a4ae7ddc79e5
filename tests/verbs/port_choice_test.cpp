// Which port and which address: decisions that need no device.
#include "backends/verbs/port_choice.h"

#include <gtest/gtest.h>

namespace kvhaul::verbs {
namespace {

Gid ipv4(std::uint8_t last) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 70, last};
}
Gid link_local() { return {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0xff, 0xfe, 0, 0, 1}; }
Gid global_ipv6() { return {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}; }

TEST(PortChoice, TheTableOfAUsualRoceNic) {
  // As a ConnectX prints it: link-local v1 and v2, then IPv4 v1 and v2.
  const std::vector<GidEntry> table = {{0, GidKind::roce_v1, link_local(), "eth0", true},
                                       {1, GidKind::roce_v2, link_local(), "eth0", true},
                                       {2, GidKind::roce_v1, ipv4(1), "eth0", true},
                                       {3, GidKind::roce_v2, ipv4(1), "eth0", true}};
  EXPECT_EQ(choose_gid(table)->index, 3u);
}

TEST(PortChoice, WhatCanBeRoutedAndIsUpComesFirst) {
  std::vector<GidEntry> table = {{1, GidKind::roce_v2, link_local(), "eth0", true},
                                 {4, GidKind::roce_v2, global_ipv6(), "eth0", true}};
  EXPECT_EQ(choose_gid(table)->index, 4u);
  table.push_back({7, GidKind::roce_v2, ipv4(9), "eth0.5", false});
  EXPECT_EQ(choose_gid(table)->index, 4u);  // an address that is down is the last choice
  table.push_back({9, GidKind::roce_v2, ipv4(3), "eth0", true});
  table.push_back({10, GidKind::roce_v2, ipv4(4), "eth0", true});
  EXPECT_EQ(choose_gid(table)->index, 9u);
}

TEST(PortChoice, WithoutVersionTwoThereIsNone) {
  EXPECT_FALSE(choose_gid({}));
  const std::vector<GidEntry> table = {{0, GidKind::roce_v1, ipv4(1), "eth0", true}};
  EXPECT_FALSE(choose_gid(table));
}

TEST(PortChoice, AddressesAsPeopleReadThem) {
  EXPECT_EQ(gid_text(ipv4(1)), "::ffff:192.168.70.1");
  EXPECT_EQ(gid_text(global_ipv6()), "2001:0db8:0000:0000:0000:0000:0000:0001");
}

TEST(PortChoice, NamesOfPorts) {
  EXPECT_EQ(*parse_port_name("mlx5_0"), (PortName{"mlx5_0", 1, {}}));
  EXPECT_EQ(*parse_port_name("mlx5_0:2"), (PortName{"mlx5_0", 2, {}}));
  EXPECT_EQ(*parse_port_name("mlx5_0:1:3"), (PortName{"mlx5_0", 1, 3}));
  for (const char* wrong : {"", ":1", "a:", "a:0", "a:256", "a:x", "a:1:", "a:1:-1", "a:1:2:3"}) {
    const auto parsed = parse_port_name(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().kind, ErrorKind::bad_input);
    EXPECT_NE(parsed.error().message.find("'" + std::string(wrong) + "'"), std::string::npos);
  }
}

}  // namespace
}  // namespace kvhaul::verbs

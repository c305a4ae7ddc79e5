#include "processes/preamble.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

const std::string tag = "0123456789abcdef0123456789abcdef";

TEST(Preamble, IsReadAsItWasSaid) {
  for (const std::string& scenario : {tag, std::string(no_scenario)}) {
    const std::string line = preamble_line({exchange_protocol, "0.1.0", 3, 4, scenario});
    ASSERT_TRUE(line.ends_with('\n'));
    const std::string text = line.substr(0, line.size() - 1);
    const auto read = parse_preamble(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(preamble_line(*read), line);
    EXPECT_EQ(read->rank, 3u);
    EXPECT_EQ(read->ranks, 4u);
    for (std::size_t size = 0; size < text.size(); ++size)
      EXPECT_TRUE(may_be_preamble(text.substr(0, size)));
  }
}

TEST(Preamble, OfAnotherProtocolOnlyTheNumberIsRead) {
  const auto old = parse_preamble("kvhaul-exchange 1 0.1.0 1 2 0123456789abcdef");
  ASSERT_TRUE(old);
  EXPECT_EQ(old->protocol, 1u);
  EXPECT_EQ(old->version, "");
}

TEST(Preamble, StrangersAreNotUnderstood) {
  for (const std::string& line : std::vector<std::string>{
           "", "GET / HTTP/1.1", "kvhaul-exchange", "kvhaul-exchange 2 0.1.0 1 2",
           "kvhaul-exchange 2 0.1.0 -1 2 " + tag, "kvhaul-exchange x 0.1.0 1 2 " + tag,
           "kvhaul-exchange 2 0.1.0 1 99999999999 " + tag, "kvhaul-exchange 2 0.1.0 01 2 " + tag,
           "kvhaul-exchange 2  1 2 " + tag, "kvhaul-exchange 2 0.1.0 1 2 " + tag + " ",
           "kvhaul-exchange 2 0.1.0 1 2 " + tag + "0",
           "kvhaul-exchange 2 0.1.0 1 2 " + tag.substr(1) + "g",
           "kvhaul-exchange 2 " + std::string(40, 'v') + " 1 2 " + tag,
           "kvhaul-exchange 2 0.1\x1b 1 2 " + tag})
    EXPECT_FALSE(parse_preamble(line)) << line;
  EXPECT_FALSE(may_be_preamble("GET"));
  EXPECT_FALSE(may_be_preamble("kvhaul-exchange " + std::string(preamble_bytes_max, '1')));
}

}  // namespace
}  // namespace kvhaul

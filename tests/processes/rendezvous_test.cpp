#include "processes/rendezvous.h"

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

const Rendezvous whole = {"node17", {"10.0.0.17", "fd00::17"}, 40123, "0123456789abcdef"};

TEST(Rendezvous, IsReadAsItWasWritten) {
  const auto read = parse_rendezvous(rendezvous_text(whole), "file");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->host, whole.host);
  EXPECT_EQ(read->addresses, whole.addresses);
  EXPECT_EQ(read->port, whole.port);
  EXPECT_EQ(read->secret, whole.secret);
}

TEST(Rendezvous, EveryShorterFileIsRefused) {
  const std::string text = rendezvous_text(whole);
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto read = parse_rendezvous(text.substr(0, size), "meet");
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().kind, ErrorKind::bad_input);
    EXPECT_TRUE(read.error().message.starts_with("meet:")) << read.error().message;
  }
}

TEST(Rendezvous, AnErrorNamesTheLineAndNeverTheSecret) {
  const auto error = [](std::string text, const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
    const auto read = parse_rendezvous(text, "meet");
    return read ? std::string("none") : read.error().message;
  };
  const std::string text = rendezvous_text(whole);
  EXPECT_EQ(error(text, "kvhaul-rendezvous 1", "kvhaul-rendezvous 2"),
            "meet:1: expected version 1 of the format; this is no rendezvous file, or a damaged "
            "one");
  EXPECT_TRUE(error(text, "port 40123", "port 70000").starts_with("meet:5: expected"));
  EXPECT_TRUE(error(text, "port 40123", "port 0").starts_with("meet:5: expected"));
  EXPECT_TRUE(error(text, "end\n", "end\nmore\n").starts_with("meet:8: expected nothing behind"));
  for (const std::string damaged : {"secret 0123456789abcde", "secret 0123456789abcde?"}) {
    const std::string message = error(text, "secret 0123456789abcdef", damaged);
    EXPECT_TRUE(message.starts_with("meet:6: expected")) << message;
    EXPECT_EQ(message.find("0123456"), std::string::npos) << message;
  }
}

TEST(Hello, IsReadAsItWasSaid) {
  const std::string line = hello_line({1, "0.1.0", 3, 4, "0123456789abcdef"});
  ASSERT_TRUE(line.ends_with('\n'));
  const auto hello = parse_hello(std::string_view(line).substr(0, line.size() - 1));
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->protocol, 1u);
  EXPECT_EQ(hello->version, "0.1.0");
  EXPECT_EQ(hello->rank, 3u);
  EXPECT_EQ(hello->ranks, 4u);
  EXPECT_EQ(hello->secret, "0123456789abcdef");
}

TEST(Hello, StrangersAreNotUnderstood) {
  for (const std::string line :
       {"", "GET / HTTP/1.1", "kvhaul-exchange", "kvhaul-exchange 1 0.1.0 1 2",
        "kvhaul-exchange 1 0.1.0 1 2 short", "kvhaul-exchange 1 0.1.0 -1 2 0123456789abcdef",
        "kvhaul-exchange x 0.1.0 1 2 0123456789abcdef",
        "kvhaul-exchange 1 0.1.0 1 99999999999 0123456789abcdef",
        "kvhaul-exchange 1  1 2 0123456789abcdef"})
    EXPECT_FALSE(parse_hello(line)) << line;
}

TEST(Secret, IsNewEachTimeAndComparedWhole) {
  const auto one = make_secret(), other = make_secret();
  ASSERT_TRUE(one);
  EXPECT_TRUE(check_secret(*one, ""));
  EXPECT_FALSE(same_secret(*one, *other));
  EXPECT_TRUE(same_secret(*one, *one));
  EXPECT_FALSE(same_secret(*one, one->substr(1)));
  EXPECT_FALSE(same_secret("", "a"));
}

}  // namespace
}  // namespace kvhaul

#include "processes/rendezvous.h"

#include <gtest/gtest.h>

#include "processes/socket.h"

namespace kvhaul {
namespace {

const std::string secret = "0123456789abcdef0123456789abcdef";
const Rendezvous whole = {"node17", "6d1c-1", {"10.0.0.17", "fd00::17"}, 40123, secret};

TEST(Rendezvous, IsReadAsItWasWritten) {
  const auto read = parse_rendezvous(rendezvous_text(whole), "file");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->host, whole.host);
  EXPECT_EQ(read->addresses, whole.addresses);
  EXPECT_EQ(read->machine, whole.machine);
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
  EXPECT_EQ(error(text, "kvhaul-rendezvous 2", "kvhaul-rendezvous 3"),
            "meet:1: expected version 2 of the format, of this version of kvhaul; this is no "
            "rendezvous file, or a damaged one");
  for (const char* port : {"70000", "0", "", "x", "-1", "1 1"})
    EXPECT_TRUE(error(text, "40123", port).starts_with("meet:6: expected")) << port;
  EXPECT_TRUE(error(text, "end\n", "end\nmore\n").starts_with("meet:9: expected nothing behind"));
  for (const std::string& damaged : {secret.substr(1), secret + "?", std::string(32, '7')}) {
    const std::string message = error(text, secret, damaged);
    EXPECT_TRUE(message.starts_with("meet:7: expected")) << message;
    EXPECT_EQ(message.find(damaged), std::string::npos) << message;
  }
}

TEST(Rendezvous, TheLoopbackOfAnotherMachineIsNotThisOnes) {
  Rendezvous file = whole;
  file.addresses = {"192.0.2.1", "127.0.0.1",        "127.8.8.8",   "0.0.0.0",    "::1",
                    "::",        "::ffff:127.0.0.1", "::127.0.0.1", "2001:db8::1"};
  for (const std::string& own : own_addresses()) file.addresses.push_back(own);
  EXPECT_EQ(addresses_from_here(file), (std::vector<std::string>{"192.0.2.1", "2001:db8::1"}));
  file.machine = machine_id();
  EXPECT_EQ(addresses_from_here(file).front(), "127.0.0.1");
  EXPECT_EQ(addresses_from_here(file).size(), file.addresses.size());
}

TEST(Secret, IsNewEachTime) {
  const auto one = make_secret(), other = make_secret();
  ASSERT_TRUE(one);
  EXPECT_TRUE(check_secret(*one, ""));
  EXPECT_NE(*one, *other);
}

}  // namespace
}  // namespace kvhaul

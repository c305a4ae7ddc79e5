// Files with a secret, and what may stand where one is looked for.
#include "processes/private_file.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "processes/rendezvous.h"
#include "tests/support/own_folder.h"

namespace kvhaul {
namespace {

namespace fs = std::filesystem;

class PrivateFiles : public ::testing::Test {
 protected:
  std::string path(const std::string& name = "meet") const { return folder_.file(name); }
  void write(const std::string& text, mode_t mode = 0600) const {
    std::ofstream(path()) << text;
    ASSERT_EQ(chmod(path().c_str(), mode), 0);
  }
  std::string read_error() const {
    const auto read = read_private_file(path(), 1 << 16);
    if (read) return *read ? "read: " + **read : "nothing there";
    EXPECT_EQ(read.error().kind, ErrorKind::bad_input);
    return read.error().message.substr(path().size());
  }
  std::string write_error() const {
    const auto wrote = PrivateFile::write(path(), "mine", 1 << 16, is_rendezvous);
    if (wrote) return "written";
    EXPECT_EQ(wrote.error().kind, ErrorKind::bad_input);
    return wrote.error().message.substr(path().size());
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

 private:
  test::OwnFolder folder_;
};

const std::string taken =
    " is there already and is no rendezvous file; expected a name that is free";

TEST_F(PrivateFiles, AreForTheirOwnerWhateverTheUmask) {
  const mode_t before = umask(0);
  {
    const auto file = PrivateFile::write(path(), "mine", 100, is_rendezvous);
    umask(before);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(fs::status(path()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_EQ(read_error(), "read: mine");
    EXPECT_EQ(entries(), 1u);
    EXPECT_NE(write_error(), "written") << "it is in use";
  }
  EXPECT_EQ(read_error(), "nothing there");
}

TEST_F(PrivateFiles, WhatOthersMayReadOrWriteIsNotBelieved) {
  for (const mode_t mode : {0644, 0640, 0604, 0620, 0602, 0666}) {
    write("text", mode);
    EXPECT_EQ(read_error(),
              " may be read or written by others, and holds a secret; expected mode 0600 ('chmod "
              "600'), and a new secret where others have read it");
  }
  write("text", 0400);
  EXPECT_EQ(read_error(), "read: text");
}

TEST_F(PrivateFiles, ADirectoryIsNone) {
  fs::create_directory(path());
  EXPECT_EQ(read_error(), " is a directory; expected a file");
  EXPECT_EQ(write_error(), " is a directory; expected a file");
  EXPECT_TRUE(fs::is_directory(path()));
}

TEST_F(PrivateFiles, APipeHoldsNobody) {
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  EXPECT_EQ(read_error(), " is a pipe; expected a file");
  EXPECT_EQ(write_error(), " is a pipe; expected a file");
}

TEST_F(PrivateFiles, LinksAreNotFollowed) {
  std::ofstream(path("precious")) << "kvhaul-rendezvous 2\n";
  for (const std::string& target : {path("precious"), path("nowhere"), std::string("/dev/zero")}) {
    fs::create_symlink(target, path());
    EXPECT_EQ(read_error(), " is a symbolic link; expected the file itself");
    EXPECT_EQ(write_error(), " is a symbolic link; expected the file itself");
    EXPECT_TRUE(fs::is_symlink(path()));
    fs::remove(path());
  }
  EXPECT_EQ(entries(), 1u);
}

TEST_F(PrivateFiles, AHugeFileTakesNoMemory) {
  write("");
  fs::resize_file(path(), std::uintmax_t{64} << 30);
  EXPECT_EQ(read_error(), " has more than 65536 bytes, too many for what it should be");
  EXPECT_EQ(write_error(), taken);
  EXPECT_EQ(fs::file_size(path()), std::uintmax_t{64} << 30);
}

TEST_F(PrivateFiles, OnlyARendezvousFileIsReplaced) {
  for (const char* text : {"", "hello\n", "kvhaul-rendezvous"}) {
    write(text);
    EXPECT_EQ(write_error(), taken);
    EXPECT_EQ(fs::file_size(path()), std::string(text).size());
  }
  for (const char* text : {"kvhaul-rendezvous 1\nhost h\nadd", "kvhaul-rendezvous 2\n"}) {
    write(text);
    EXPECT_EQ(write_error(), "written");
    EXPECT_EQ(entries(), 0u);
  }
}

TEST_F(PrivateFiles, AnotherUsersFileIsNotBelieved) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make a file of another user";
  write("kvhaul-rendezvous 2\n");
  ASSERT_EQ(chown(path().c_str(), 65534, 65534), 0);
  const std::string foreign =
      " belongs to another user (uid 65534); expected a file of the user that runs kvhaul";
  EXPECT_EQ(read_error(), foreign);
  EXPECT_EQ(write_error(), foreign);
}

TEST_F(PrivateFiles, ASecretIsTheFirstLine) {
  const std::string secret = "0123456789abcdef0123456789abcdef";
  for (const std::string end : {"", "\n", "\r\n", "\nmore\n"}) {
    write(secret + end);
    const auto read = read_secret_file(path());
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, secret);
  }
  const auto error = [&] {
    const auto read = read_secret_file(path());
    return read ? "read" : read.error().message;
  };
  const std::string weak = "--secret: " + path() +
                           ": expected a random secret of 32 to 128 letters and digits, such as "
                           "'openssl rand -hex 16' prints";
  for (const std::string& text : {std::string(), secret.substr(1), std::string(32, 'a'),
                                  secret + "?", std::string(129, 'x')}) {
    write(text);
    EXPECT_EQ(error(), weak);
  }
  fs::remove(path());
  EXPECT_EQ(error(), "--secret: " + path() + " cannot be read: No such file or directory");
}

}  // namespace
}  // namespace kvhaul

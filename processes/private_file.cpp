#include "processes/private_file.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <vector>

namespace kvhaul {
namespace {

Error wrong(const std::string& path, const std::string& what) {
  return Error::bad_input(path + " " + what);
}

/// Opened without waiting for a writer and without following a link; no Socket: there is no such
/// name.
Result<Socket> open_own_file(const std::string& path, struct stat& status) {
  Socket file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file && errno == ENOENT) return Socket();
  if (!file && errno == ELOOP) return wrong(path, "is a symbolic link; expected the file itself");
  if (!file || fstat(file.fd(), &status) != 0)
    return wrong(path, std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    return wrong(path, S_ISDIR(status.st_mode)    ? "is a directory; expected a file"
                       : S_ISFIFO(status.st_mode) ? "is a pipe; expected a file"
                                                  : "is a device or a socket; expected a file");
  if (status.st_uid != geteuid())
    return wrong(path, "belongs to another user (uid " + std::to_string(status.st_uid) +
                           "); expected a file of the user that runs kvhaul");
  return file;
}

Result<std::string> read_all(const Socket& file, const std::string& path, std::size_t bytes_max) {
  std::string text(bytes_max + 1, '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t came = read(file.fd(), text.data() + have, text.size() - have);
    if (came < 0 && errno == EINTR) continue;
    if (came < 0) return wrong(path, std::string("cannot be read: ") + std::strerror(errno));
    if (came == 0) break;
    have += static_cast<std::size_t>(came);
  }
  if (have > bytes_max)
    return wrong(path, "has more than " + std::to_string(bytes_max) +
                           " bytes, too many for what it should be");
  text.resize(have);
  return text;
}

/// Nothing when the name is free or may be taken.
Result<bool> is_free(const std::string& path, std::size_t bytes_max,
                     bool (*replaceable)(const std::string& text)) {
  struct stat status {};
  auto there = open_own_file(path, status);
  if (!there) return there.error();
  if (!*there) return true;
  auto text = read_all(*there, path, bytes_max);
  if (!text || !replaceable(*text))
    return wrong(path, "is there already and is no rendezvous file; expected a name that is free");
  if (flock(there->fd(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return wrong(
        path,
        "is that of a process 0 which waits there now; expected another name for another run");
  return false;
}

}  // namespace

Result<std::optional<std::string>> read_private_file(const std::string& path,
                                                     std::size_t bytes_max) {
  struct stat status {};
  auto file = open_own_file(path, status);
  if (!file) return file.error();
  if (!*file) return std::optional<std::string>();
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return wrong(path,
                 "may be read or written by others, and holds a secret; expected mode 0600 ('chmod "
                 "600'), and a new secret where others have read it");
  auto text = read_all(*file, path, bytes_max);
  if (!text) return text.error();
  return std::optional<std::string>(std::move(*text));
}

PrivateFile::~PrivateFile() {
  // By now it may be that of another run.
  struct stat now {};
  if (!path_.empty() && lstat(path_.c_str(), &now) == 0 && now.st_dev == file_.st_dev &&
      now.st_ino == file_.st_ino)
    unlink(path_.c_str());
}

Result<PrivateFile> PrivateFile::write(const std::string& path, std::string_view text,
                                       std::size_t bytes_max,
                                       bool (*replaceable)(const std::string& text)) {
  auto free = is_free(path, bytes_max, replaceable);
  if (!free) return free.error();
  std::string aside = path + ".XXXXXX";
  PrivateFile written;
  written.lock_ = Socket(mkostemp(aside.data(), O_CLOEXEC));  // new, and for its owner only
  const auto failed = [&] {
    const int error = errno;
    if (written.lock_) unlink(aside.c_str());
    return wrong(path, std::string("cannot be written: ") + std::strerror(error));
  };
  if (!written.lock_) return failed();
  const int fd = written.lock_.fd();
  // Where a file system has no locks, a second process 0 is noticed by those who miss the first.
  (void)flock(fd, LOCK_EX | LOCK_NB);
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fstat(fd, &written.file_) != 0)
    return failed();
  // A name that is free is taken by link(), which never puts a file over another.
  if (*free ? link(aside.c_str(), path.c_str()) != 0 : rename(aside.c_str(), path.c_str()) != 0)
    return failed();
  if (*free) unlink(aside.c_str());
  written.path_ = path;
  return written;
}

}  // namespace kvhaul

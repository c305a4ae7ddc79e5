#include "traces/output_file.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t flush_bytes = 1 << 16;
constexpr mode_t mode_wanted = 0666;  // less what umask takes

Error cannot_create(const std::string& path, int error) {
  return Error::bad_input(path + ": cannot be created: " + std::strerror(error));
}

/// Where a path leads to: through its symbolic links, also where the last one leads nowhere yet.
/// Nothing when they go round in circles.
std::optional<fs::path> followed(fs::path path) {
  constexpr int links_max = 40;  // as the kernel has it
  std::error_code status;
  for (int i = 0; i < links_max; ++i) {
    const fs::path folder =
        fs::canonical(path.parent_path().empty() ? "." : path.parent_path(), status);
    if (status || path.filename().empty()) return path;  // opening it says what is wrong
    path = folder / path.filename();
    // In /proc stand open files, which read as links to some name that they once had.
    if (folder.native().starts_with("/proc/") || !fs::is_symlink(path, status)) return path;
    const fs::path next = fs::read_symlink(path, status);
    if (status) return path;
    path = next.is_absolute() ? next : folder / next;
  }
  return std::nullopt;
}

/// N of /proc/self/fd/N, which is where /dev/stdout leads to.
std::optional<int> own_descriptor(const fs::path& path) {
  std::error_code status;
  const fs::path folder = fs::canonical(path.parent_path(), status);
  if (status || folder != fs::canonical("/proc/self/fd", status) || status) return std::nullopt;
  const std::string name = path.filename().native();
  int number = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

Result<void> check_inputs(const std::string& path, const struct stat& there,
                          const OutputRules& rules) {
  for (const std::string& input : rules.inputs) {
    struct stat read {};
    if (stat(input.c_str(), &read) == 0 && read.st_dev == there.st_dev &&
        read.st_ino == there.st_ino)
      return Error::bad_input(path + " is read by this command" +
                              (input == path ? "" : " as " + input) +
                              " and not written over; give another name");
  }
  return {};
}

}  // namespace

/// An open file, and how it gets its name.
class OutputFile::Target {
 public:
  explicit Target(int descriptor) : descriptor_(descriptor) {}
  ~Target() {
    if (!temporary_.empty()) unlink(temporary_.c_str());  // while it is locked
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  /// A file without a name in the folder of `place`, or with one that begins with a dot. Its lock
  /// says that it is being written.
  bool open_beside(const fs::path& place, bool replace) {
    place_ = place.native();
    folder_ = place.parent_path().empty() ? "." : place.parent_path().native();
    replace_ = replace;
    if (access("/proc/self/fd", X_OK) == 0)  // by which it gets its name
      descriptor_ = open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode_wanted);
    if (descriptor_ >= 0) {
      flock(descriptor_, LOCK_EX);
      return true;
    }
    return with_temporary_name([this](const char* name) {
      descriptor_ = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode_wanted);
      if (descriptor_ < 0) return false;
      // Before it had its lock somebody may have taken it for one that was left.
      flock(descriptor_, LOCK_EX);
      if (stands_at(descriptor_, name)) return true;
      ::close(descriptor_);
      descriptor_ = -1;
      errno = EEXIST;
      return false;
    });
  }

  int descriptor() const { return descriptor_; }
  bool named() const { return !place_.empty(); }
  const std::string& place() const { return place_; }

  bool write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t wrote = ::write(descriptor_, bytes.data(), bytes.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return true;
  }

  /// False: errno says why. EEXIST: somebody else has made that file meanwhile.
  bool finish() {
    if (named()) {
      if (fsync(descriptor_) != 0) return false;
      if (!give_name()) return false;
    }
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (::close(descriptor) != 0) return false;
    if (named()) sync_folder();
    return true;
  }

 private:
  static bool stands_at(int descriptor, const char* name) {
    struct stat file {
    }, there{};
    return fstat(descriptor, &file) == 0 && lstat(name, &there) == 0 &&
           file.st_dev == there.st_dev && file.st_ino == there.st_ino;
  }

  /// Removes a temporary file whose writer was killed: nobody holds its lock, nor has made another
  /// of its name meanwhile.
  static bool remove_left(const char* name) {
    const int left = open(name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const bool removed = left >= 0 && flock(left, LOCK_EX | LOCK_NB) == 0 &&
                         stands_at(left, name) && unlink(name) == 0;
    if (left >= 0) ::close(left);
    return removed;
  }

  /// Tries names until one is free. The next writer of the same file tries the same ones, so that
  /// what killed ones leave does not pile up.
  template <class Make>
  bool with_temporary_name(const Make& make) {
    const std::string name = fs::path(place_).filename().native().substr(0, 200);
    for (int i = 0; i < 1000; ++i) {
      const std::string tried = folder_ + "/." + name + "." + std::to_string(i) + ".part";
      bool made = make(tried.c_str());
      if (!made && errno != EEXIST) return false;
      if (!made) made = remove_left(tried.c_str()) && make(tried.c_str());
      if (made) {
        temporary_ = tried;
        return true;
      }
    }
    return false;
  }

  bool give_name() {
    const std::string self = "/proc/self/fd/" + std::to_string(descriptor_);
    const std::string& from = temporary_.empty() ? self : temporary_;
    const auto link_as = [&](const char* name) {
      return linkat(AT_FDCWD, from.c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0;
    };
    if (!replace_) {
      // A link, unlike a new name, never takes the place of something.
      if (link_as(place_.c_str())) return true;
      if (temporary_.empty() || (errno != EPERM && errno != EOPNOTSUPP)) return false;
      struct stat there {};
      if (lstat(place_.c_str(), &there) == 0) {
        errno = EEXIST;
        return false;
      }
    } else if (temporary_.empty() && !with_temporary_name(link_as)) {
      return false;
    }
    if (rename(temporary_.c_str(), place_.c_str()) != 0) return false;
    temporary_.clear();
    return true;
  }

  /// So that the name, too, survives a loss of power. Not every file system can.
  void sync_folder() const {
    const int folder = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    fsync(folder);
    ::close(folder);
  }

  int descriptor_ = -1;
  std::string place_, folder_;  // empty: it has its name already, or needs none
  std::string temporary_;       // a name that goes unless the file gets its own
  bool replace_ = false;
};

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {}
OutputFile::OutputFile(OutputFile&&) noexcept = default;
OutputFile& OutputFile::operator=(OutputFile&&) noexcept = default;
OutputFile::~OutputFile() = default;

Result<OutputFile> OutputFile::create(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode_wanted);
  if (descriptor < 0) return cannot_create(path, errno);
  OutputFile file(path);
  file.target_ = std::make_unique<Target>(descriptor);
  return file;
}

Result<OutputFile> OutputFile::create(const std::string& path, const OutputRules& rules) {
  if (path.empty()) return Error::bad_input("expected the name of a file to write, found none");
  const std::optional<fs::path> place = followed(path);
  if (!place) return cannot_create(path, ELOOP);
  OutputFile file(path);
  file.target_ = std::make_unique<Target>(-1);
  struct stat there {};
  const bool exists = stat(place->c_str(), &there) == 0;
  if (exists && S_ISDIR(there.st_mode)) return Error::bad_input(path + " is a directory");
  if (exists && S_ISREG(there.st_mode))
    if (auto ok = check_inputs(path, there, rules); !ok) return ok.error();
  const std::optional<int> own = own_descriptor(*place);
  if (own || (exists && !S_ISREG(there.st_mode))) {
    // Where an open file stands it goes on, as it does for everybody else who writes to it.
    const int descriptor =
        own ? fcntl(*own, F_DUPFD_CLOEXEC, 0) : open(place->c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return cannot_create(path, errno);
    file.target_ = std::make_unique<Target>(descriptor);
    return file;
  }
  if (exists && !rules.force)
    return Error::bad_input(path + " is there already; --force writes over it");
  if (exists && access(place->c_str(), W_OK) != 0) return cannot_create(path, errno);
  if (!file.target_->open_beside(*place, rules.force)) return cannot_create(path, errno);
  if (exists) fchmod(file.target_->descriptor(), there.st_mode & 07777);
  return file;
}

bool OutputFile::is_file() const { return target_->named(); }
const std::string& OutputFile::place() const { return target_->place(); }

OutputFile& OutputFile::text(std::string_view text) {
  buffer_.append(text);
  if (buffer_.size() >= flush_bytes) (void)flush();
  return *this;
}

OutputFile& OutputFile::number(std::uint64_t value) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return text({digits.data(), static_cast<std::size_t>(end.ptr - digits.data())});
}

void OutputFile::fraction(TimeNs time_ns, TimeNs unit_ns, int digits) {
  if (time_ns < 0) {
    text("-");
    time_ns = -time_ns;
  }
  number(static_cast<std::uint64_t>(time_ns / unit_ns));
  std::array<char, 10> part{};
  TimeNs rest = time_ns % unit_ns;
  for (int i = digits - 1; i >= 0; --i, rest /= 10)
    part[static_cast<std::size_t>(i)] = static_cast<char>('0' + rest % 10);
  text(".").text({part.data(), static_cast<std::size_t>(digits)});
}

OutputFile& OutputFile::ms(TimeNs time_ns) {
  fraction(time_ns, ms_ns, 6);
  return *this;
}

OutputFile& OutputFile::seconds(TimeNs time_ns) {
  fraction(time_ns, s_ns, 9);
  return *this;
}

OutputFile& OutputFile::real(double value) { return text(number_text(value, 6)); }

Error OutputFile::written_error() const {
  if (error_ == EEXIST)
    return Error::bad_input(path_ + " was made by somebody else meanwhile; it stays as it is");
  return Error::failed(path_ + ": could not be written: " + std::strerror(error_));
}

Result<void> OutputFile::flush() {
  if (error_ == 0 && !target_->write(buffer_)) error_ = errno;
  buffer_.clear();
  if (error_ != 0) return written_error();
  return {};
}

Result<void> OutputFile::close() {
  if (auto ok = flush(); !ok) {
    target_.reset();
    return ok;
  }
  if (!target_->finish()) error_ = errno;
  target_.reset();
  if (error_ != 0) return written_error();
  return {};
}

}  // namespace kvhaul

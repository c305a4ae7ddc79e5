// Files with a secret: believed only when nobody else could have written or read them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>

#include "core/result.h"
#include "processes/socket.h"

namespace kvhaul {

/// What stands in a file of this user that only this user may read and write, at most `bytes_max`
/// of it; nothing where there is no such name. bad_input names what is wrong and what to do: a
/// directory, a pipe, a symbolic link, another user's file, one that others may read. Never blocks.
Result<std::optional<std::string>> read_private_file(const std::string& path,
                                                     std::size_t bytes_max);

/// A file that goes when this value goes, unless somebody has put another in its place.
class PrivateFile {
 public:
  PrivateFile(PrivateFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), file_(other.file_), lock_(std::move(other.lock_)) {}
  PrivateFile& operator=(PrivateFile&&) = delete;
  ~PrivateFile();

  /// Written aside, for its owner only, and given its name when it is whole. The name must be free,
  /// or that of a file of this user for which `replaceable(text)` holds and that no living process
  /// made so. bad_input for anything else, which stays as it is.
  static Result<PrivateFile> write(const std::string& path, std::string_view text,
                                   std::size_t bytes_max,
                                   bool (*replaceable)(const std::string& text));

 private:
  PrivateFile() = default;

  std::string path_;
  struct stat file_ {};
  Socket lock_;  // held as long as the file is ours
};

}  // namespace kvhaul

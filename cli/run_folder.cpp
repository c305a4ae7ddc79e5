#include "cli/run_folder.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "traces/output_file.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* new_run = ".new-run";

Error cannot_make(const std::string& path, const std::string& why) {
  return Error::bad_input("--out: " + path + " cannot be made: " + why);
}

}  // namespace

RunFolder::RunFolder(RunFolder&& other) noexcept { *this = std::move(other); }

RunFolder& RunFolder::operator=(RunFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(writing_, other.writing_);
  std::swap(lock_, other.lock_);
  std::swap(made_, other.made_);
  return *this;
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) close(lock_);
}

Result<RunFolder> RunFolder::open(const std::string& path, bool force, bool in_place,
                                  const std::vector<std::string>& names,
                                  const std::vector<std::string>& inputs) {
  RunFolder folder;
  folder.path_ = path;
  while (folder.path_.size() > 1 && folder.path_.ends_with('/')) folder.path_.pop_back();
  folder.writing_ = folder.path_;
  std::error_code status;
  const fs::path parent = fs::path(folder.path_).parent_path();
  if (!parent.empty()) fs::create_directories(parent, status);
  if (status) return cannot_make(path, status.message());
  // One of two runs makes it; the lock is for when it is there. It goes with the process that holds
  // it, and the kernel lets nobody else have it before. Not every network file system knows it.
  folder.made_ = mkdir(folder.path_.c_str(), 0777) == 0;
  if (!folder.made_ && errno != EEXIST) return cannot_make(path, std::strerror(errno));
  if (!fs::is_directory(folder.path_, status))
    return Error::bad_input("--out: " + path + " is not a directory");
  folder.lock_ = ::open(folder.path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder.lock_ < 0) return cannot_make(path, std::strerror(errno));
  if (flock(folder.lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return Error::bad_input("--out: another run writes into " + path + " at this moment");
  const bool empty = fs::is_empty(folder.path_, status);
  if (!empty && !force)
    return Error::bad_input("--out: " + path + " is not empty; --force writes over what is in it");
  for (const std::string& name : names)
    for (const std::string& input : inputs)
      if (fs::equivalent(folder.path_ + "/" + name, input, status))
        return Error::bad_input("--out: " + path + "/" + name +
                                " is read by this command and not written over; give another name");
  if (empty || in_place) {
    if (auto ok = folder.mark(); !ok) return ok.error();
    return folder;
  }
  folder.writing_ = folder.path_ + "/" + new_run;
  if (mkdir(folder.writing_.c_str(), 0777) != 0 && errno != EEXIST)
    return cannot_make(folder.writing_, std::strerror(errno));
  return folder;
}

Result<void> RunFolder::mark() {
  auto mark = OutputFile::create(path_ + "/" + unfinished_mark);
  if (!mark) return mark.error();
  mark->text("The run that writes into this folder has not come to its end.\n");
  return mark->close();
}

Result<void> RunFolder::finish() {
  std::error_code status;
  if (writing_ != path_) {
    if (auto ok = mark(); !ok) return ok;
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(writing_, status))
      names.push_back(entry.path().filename().string());
    for (const std::string& name : names) {
      if (!status) fs::rename(writing_ + "/" + name, path_ + "/" + name, status);
      if (status)
        return Error::failed(path_ + "/" + name +
                             " cannot be put into its place: " + status.message());
    }
    fs::remove(writing_, status);
  }
  if (!fs::remove(path_ + "/" + unfinished_mark, status))
    return Error::failed(path_ + "/" + unfinished_mark + " cannot be removed");
  return {};
}

void RunFolder::take_back() {
  std::error_code status;
  if (writing_ == path_)
    fs::remove(path_ + "/" + unfinished_mark, status);
  else
    fs::remove(writing_, status);
  if (made_) fs::remove(path_, status);
}

}  // namespace kvhaul::cli

#include "serving/spool.h"

#include <cerrno>
#include <cstring>

namespace kvhaul {

Result<Spool> Spool::create() {
  Spool spool;
  spool.file_.reset(std::tmpfile());
  if (!spool.file_)
    return Error::failed(std::string("a temporary file cannot be made: ") + std::strerror(errno));
  return spool;
}

bool Spool::write(std::string_view bytes) {
  failed_ = failed_ || std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size();
  return !failed_;
}

Result<std::string> Spool::read() {
  constexpr std::size_t most = 1 << 20;
  if (!reading_) {
    failed_ = failed_ || std::fflush(file_.get()) != 0;
    std::rewind(file_.get());
    reading_ = true;
  }
  std::string bytes(failed_ ? 0 : most, '\0');
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file_.get()));
  if (failed_ || std::ferror(file_.get()) != 0)
    return Error::failed("a temporary file could not be written or read");
  return bytes;
}

}  // namespace kvhaul

#include "serving/output_file.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/unit_text.h"

namespace kvhaul {
namespace {
constexpr std::size_t flush_bytes = 1 << 16;
}

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile file;
  file.path_ = path;
  file.file_.reset(std::fopen(path.c_str(), "wb"));
  if (!file.file_) return Error::bad_input(path + ": cannot be created: " + std::strerror(errno));
  return file;
}

OutputFile& OutputFile::text(std::string_view text) {
  buffer_.append(text);
  if (buffer_.size() >= flush_bytes) flush();
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

void OutputFile::flush() {
  if (std::fwrite(buffer_.data(), 1, buffer_.size(), file_.get()) != buffer_.size() && !failed_) {
    failed_ = true;
    error_ = errno;
  }
  buffer_.clear();
}

Result<void> OutputFile::close() {
  flush();
  std::FILE* file = file_.release();
  if (std::fclose(file) != 0 && !failed_) {
    failed_ = true;
    error_ = errno;
  }
  if (failed_) return Error::failed(path_ + ": could not be written: " + std::strerror(error_));
  return {};
}

}  // namespace kvhaul

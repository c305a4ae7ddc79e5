// For readers of files, not for their users: gzip data, unpacked as it is read.
#pragma once

#include <istream>
#include <memory>
#include <string>
#include <string_view>

namespace kvhaul {

/// The first bytes of gzip data, whatever the file is called.
inline constexpr std::string_view gzip_magic = "\x1f\x8b";

/// What is packed in the bytes of another stream. Several gzip members one after the other, as
/// `cat` makes them, are one text. Holds 128 KiB and zlib's window, however much it unpacks to.
class GzipStream final : public std::istream {
 public:
  /// `head` was taken from `packed` already, and comes before the rest.
  GzipStream(std::unique_ptr<std::istream> packed, std::string head);
  ~GzipStream() override;

  /// Why it is bad(): "..., found ..." of an error; empty where the bytes below could not be read.
  const std::string& damage() const;

 private:
  class Buffer;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace kvhaul

#include "traces/gzip.h"

#include <new>
#include <zlib.h>

#include "core/units.h"

namespace kvhaul {

class GzipStream::Buffer final : public std::streambuf {
 public:
  Buffer(std::istream& owner, std::unique_ptr<std::istream> packed, std::string head)
      : owner_(owner), packed_(std::move(packed)), in_(std::move(head)), out_(part_bytes, '\0') {
    // 15 bits of window, and 16 for "gzip alone".
    if (inflateInit2(&zlib_, 15 + 16) != Z_OK) throw std::bad_alloc();
    offer();
  }
  ~Buffer() override { inflateEnd(&zlib_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const std::string& damage() const { return damage_; }

 private:
  static constexpr std::size_t part_bytes = std::size_t{64} * KiB;

  int_type underflow() override {
    if (gptr() < egptr()) return traits_type::to_int_type(*gptr());
    const std::size_t count = owner_.bad() ? 0 : unpack();
    setg(out_.data(), out_.data(), out_.data() + count);
    return count == 0 ? traits_type::eof() : traits_type::to_int_type(*gptr());
  }

  /// How many bytes there are now; 0 at the end, and where it is damaged.
  std::size_t unpack() {
    zlib_.next_out = reinterpret_cast<Bytef*>(out_.data());
    zlib_.avail_out = static_cast<uInt>(out_.size());
    while (zlib_.avail_out == out_.size()) {
      if (zlib_.avail_in == 0 && !refill()) {
        if (packed_->bad()) return fail("");
        return between_members_ ? 0 : fail("whole gzip data, found its end missing");
      }
      if (between_members_ && !begin_member()) continue;
      const int status = inflate(&zlib_, Z_NO_FLUSH);
      between_members_ = status == Z_STREAM_END;
      if (between_members_) {
        seen_member_ = true;
        inflateReset(&zlib_);
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        return fail(seen_member_ && zlib_.total_out == 0
                        ? "the end of the gzip data, found other bytes behind it"
                        : "whole gzip data, found it damaged");
      }
    }
    return out_.size() - zlib_.avail_out;
  }
  /// Past zeros, with which some pad the end of a file.
  bool begin_member() {
    while (seen_member_ && zlib_.avail_in > 0 && *zlib_.next_in == 0) {
      ++zlib_.next_in;
      --zlib_.avail_in;
    }
    between_members_ = zlib_.avail_in == 0;
    return !between_members_;
  }
  bool refill() {
    in_.resize(part_bytes);
    packed_->read(in_.data(), static_cast<std::streamsize>(in_.size()));
    in_.resize(static_cast<std::size_t>(packed_->gcount()));
    offer();
    return !in_.empty();
  }
  void offer() {
    zlib_.next_in = reinterpret_cast<Bytef*>(in_.data());
    zlib_.avail_in = static_cast<uInt>(in_.size());
  }
  std::size_t fail(const char* damage) {
    damage_ = damage;
    owner_.setstate(std::ios::badbit);
    return 0;
  }

  std::istream& owner_;
  std::unique_ptr<std::istream> packed_;
  std::string in_, out_;
  z_stream zlib_{};
  bool between_members_ = true, seen_member_ = false;
  std::string damage_;
};

GzipStream::GzipStream(std::unique_ptr<std::istream> packed, std::string head)
    : std::istream(nullptr),
      buffer_(std::make_unique<Buffer>(*this, std::move(packed), std::move(head))) {
  rdbuf(buffer_.get());  // which also says that all is well
}
GzipStream::~GzipStream() { rdbuf(nullptr); }

const std::string& GzipStream::damage() const { return buffer_->damage(); }

}  // namespace kvhaul

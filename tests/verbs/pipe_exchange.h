// The exchange of two processes, a parent and its child, over a socket pair.
#pragma once

#include <string>
#include <string_view>
#include <unistd.h>

#include "core/exchange.h"

namespace kvhaul::test {

class PipeExchange final : public Exchange {
 public:
  PipeExchange(std::uint32_t rank, int socket) : rank_(rank), socket_(socket) {}
  ~PipeExchange() override { close(socket_); }
  PipeExchange(const PipeExchange&) = delete;

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return 2; }
  Result<void> send(std::uint32_t, std::string_view bytes) override {
    const std::uint64_t length = bytes.size();
    if (!put(&length, sizeof length) || !put(bytes.data(), bytes.size()))
      return Error::failed("the other process is gone");
    return {};
  }
  Result<std::string> receive(std::uint32_t) override {
    std::uint64_t length = 0;
    if (!get(&length, sizeof length)) return Error::failed("the other process is gone");
    std::string bytes(length, '\0');
    if (!get(bytes.data(), length)) return Error::failed("the other process is gone");
    return bytes;
  }

 private:
  bool put(const void* from, std::size_t bytes) {
    for (const char* at = static_cast<const char*>(from); bytes != 0;) {
      const ssize_t count = write(socket_, at, bytes);
      if (count <= 0) return false;
      at += count;
      bytes -= static_cast<std::size_t>(count);
    }
    return true;
  }
  bool get(void* into, std::size_t bytes) {
    for (char* at = static_cast<char*>(into); bytes != 0;) {
      const ssize_t count = read(socket_, at, bytes);
      if (count <= 0) return false;
      at += count;
      bytes -= static_cast<std::size_t>(count);
    }
    return true;
  }

  std::uint32_t rank_;
  int socket_;
};

}  // namespace kvhaul::test

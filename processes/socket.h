// Sockets, deadlines, and addresses of this machine and of others.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <netdb.h>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

using SteadyClock = std::chrono::steady_clock;

/// A file descriptor that is closed once.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket();
  explicit operator bool() const { return fd_ >= 0; }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

class Deadline {
 public:
  explicit Deadline(TimeNs within_ns);
  bool passed() const { return SteadyClock::now() >= at_; }
  int left_ms() const;

 private:
  SteadyClock::time_point at_;
};

/// Waits for one of `events`; false when the time is over.
bool wait_for(int fd, short events, const Deadline& deadline);

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;
/// `flags` of getaddrinfo(). bad_input for what cannot be found.
Result<Addresses> look_up(const std::string& host, const std::string& port, int flags);

struct HostPort {
  std::string host, port;
};
/// HOST:PORT or [ADDRESS]:PORT.
HostPort split_address(const std::string& text);

std::string host_name();
/// The same for two processes whose loopback addresses are the same, and for no others: the boot of
/// the kernel, and the network namespace. One word; the host's name when the system does not say.
std::string machine_id();
/// Addresses of this machine that others may reach, and its own loopback address last.
std::vector<std::string> own_addresses();
/// Whether a numeric address means the machine that asks it, whichever that is.
bool is_loopback(const std::string& address);

struct Listener {
  Socket socket;
  std::uint16_t port = 0;
};
/// bad_input when that is no address of this machine, or the port is taken.
Result<Listener> listen_at(const addrinfo& at, const std::string& name);

/// Connected and not blocking, or nobody is there (yet).
Socket connect_to(const addrinfo& at, const Deadline& deadline);
/// For one that was accepted: no delay of small messages, and the other machine's end is noticed.
void prepare(int fd);

/// Room for so many more file descriptors, as far as the hard limit allows. bad_input when it does
/// not.
Result<void> reserve_descriptors(std::size_t count);

}  // namespace kvhaul
